//! The webhook's configuration file.

use std::path::Path;

use findings::{Code, Finding};

use crate::config::{Config, ConfigError};
use runtime::chain;

/// The configuration in `text`, or one finding for each of its faults. `source` is the file, or the object that holds it.
pub(crate) fn read(source: &str, text: &str) -> Result<Config, Vec<Finding>> {
    Config::parse(Path::new(source), text).map_err(|error| match error {
        ConfigError::Faults { faults, .. } => {
            faults.iter().map(|fault| invalid(&format!("{source}: {fault}"))).collect()
        }
        other => vec![invalid(&chain(&other))],
    })
}

fn invalid(problem: &str) -> Finding {
    Finding::with_names(Code::ConfigurationInvalid, problem, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_one_finding_of_each_fault() {
        let faults = read("config.yaml", "lokiURL: x\ntenant: ..\n").unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert_eq!(faults[0].code, Code::ConfigurationInvalid);
        assert!(faults[0].problem.starts_with("config.yaml: line 1: lokiURL: unknown key"), "{faults:?}");
        assert_eq!(read("config.yaml", "a: [").unwrap_err().len(), 1);
        assert!(read("config.yaml", "tenant: audit\n").is_ok_and(|config| config.tenant == "audit"));
    }
}
