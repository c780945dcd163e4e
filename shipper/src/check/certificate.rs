//! A certificate in words: whom it is for, who issued it, how long it is valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::printable;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::words::about;

/// At most this many names of a certificate are shown.
const SHOWN: usize = 5;

/// The words for a certificate in DER, at this time.
pub(super) fn words(der: &[u8], now: SystemTime) -> String {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return "a certificate that cannot be read".to_owned();
    };
    let (subject, issuer) = (certificate.subject().to_string(), certificate.issuer().to_string());
    let issuer = if subject == issuer { "itself".to_owned() } else { named(&issuer) };
    let text =
        format!("{}{}, issued by {issuer}, {}", named(&subject), names(&certificate), validity(&certificate, now));
    printable(&text).into_owned()
}

fn named(name: &str) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name.to_owned() }
}

/// The names of the servers that may use it.
fn names(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return String::new() };
    let mut names: Vec<_> = extension.value.general_names.iter().filter_map(name).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    if names.is_empty() { String::new() } else { format!(" for {}", names.join(", ")) }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn validity(certificate: &X509Certificate<'_>, now: SystemTime) -> String {
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let validity = certificate.validity();
    let (begins, ends) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    let date = |time| jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    match (begins.duration_since(now), ends.duration_since(now)) {
        (Ok(left), _) if !left.is_zero() => format!("not valid before {} (in {})", date(begins), about(left)),
        (_, Ok(left)) => format!("valid until {} (for {})", date(ends), about(left)),
        (_, Err(_)) => format!("expired on {}", date(ends)),
    }
}

#[cfg(test)]
mod tests {
    use certs::Authority;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn says_whom_a_certificate_is_for_and_who_issued_it_and_how_long_it_is_valid() {
        let now = SystemTime::from("2026-02-20T22:00:00Z".parse::<jiff::Timestamp>().unwrap());
        let ca = Authority::new_at("service CA", 48 * HOUR, now).unwrap();
        let pair = ca.serving_at(&["gw.logging.svc", "10.0.0.1"], 5 * HOUR, now).unwrap();
        let words = |now| words(&der(&pair.cert), now);
        let valid = words(now + HOUR);
        let parts = [
            "for gw.logging.svc, 10.0.0.1",
            "issued by CN=service CA",
            "valid until 2026-02-21T03:00:00Z (for 4 hours)",
        ];
        for part in parts {
            assert!(valid.contains(part), "{part} missing in: {valid}");
        }
        assert!(words(now + 6 * HOUR).contains("expired on 2026-02-21T03:00:00Z"));
        assert!(words(now - 100 * HOUR).contains("not valid before "));
        assert!(super::words(&der(ca.cert()), now).contains("issued by itself"));
    }

    #[test]
    fn reads_no_certificate_where_there_is_none() {
        assert_eq!(words(b"x", UNIX_EPOCH), "a certificate that cannot be read");
    }
}
