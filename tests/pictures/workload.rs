//! What the programs of one Redis Enterprise pod write during the run.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use harness::writer::LogFile;

/// The log files of one pod.
pub(crate) struct Workload {
    files: Vec<LogFile>,
    dir: PathBuf,
}

impl Workload {
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self { files: LogFile::open_all(dir)?, dir: dir.to_owned() })
    }

    /// Writes the lines of one second.
    pub(crate) fn write(&mut self, step: u64) -> anyhow::Result<()> {
        for (i, file) in (0..).zip(&mut self.files) {
            // dmcproxy writes most, in waves; the others write now and then.
            let entries =
                if i == 0 { 20 + step % 60 } else { u64::from((step + i).is_multiple_of(1 + i % 5)) * (1 + i % 3) };
            file.write(usize::try_from(entries)?)?;
            if (step + 37 * i).is_multiple_of(300) {
                file.rotate_by_copytruncate()?;
            }
        }
        if step.is_multiple_of(10) {
            self.operators(step)?;
        }
        Ok(())
    }

    /// Lines of people and of several databases, some with a password.
    fn operators(&self, step: u64) -> anyhow::Result<()> {
        let at = jiff::Timestamp::now();
        let (comma, dot) = (at.strftime("%Y-%m-%d %H:%M:%S,%3f"), at.strftime("%Y-%m-%d %H:%M:%S.%3f"));
        self.append(
            "rladmin",
            &format!("{comma} INFO rladmin: login --user admin@example.com --password hunter{step}\n"),
        )?;
        self.append(
            "cnm_http",
            &format!(
                "{comma} INFO cnm_http: PUT /v1/bdbs/{} {{\"authentication_redis_pass\": \"hunter{step}\"}}\n",
                1 + step % 3
            ),
        )?;
        for database in 2..=1 + step / 10 % 4 {
            let line = format!(
                "{step}) {dot} [1644] WRN dmc.conn (handshake@tls_conn.cpp:187) - bdb:{database} TLS handshake failed\n"
            );
            self.append("dmcproxy", &line.repeat(usize::try_from(database)?))?;
        }
        Ok(())
    }

    fn append(&self, stem: &str, text: &str) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.dir.join(format!("{stem}.log")))?;
        file.write_all(text.as_bytes())?;
        Ok(())
    }
}
