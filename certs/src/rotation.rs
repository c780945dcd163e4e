//! When a self-signed certificate must be issued again. This is a pure decision about the stored certificates.
//!
//! ```text
//! CA 1 ───────────────────────────────┐ trusted until nobody serves a leaf of it
//!                CA 2 ── trusted first, signs after an overlap ───────────────
//! leaf a (CA 1) ─────────── leaf b (CA 1) ── leaf c (CA 2) ───────────────────
//! ```
//!
//! Replicas and API servers learn of a change one after the other. So a new CA is trusted for a while before it signs, and
//! an old CA is trusted for a while after its last leaf was replaced. Thus a replica with the old leaf and an API server
//! with the old bundle still accept each other.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::issue::{Authority, BACKDATED, IssueError, PemPair};

/// The lifetimes of certificates.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// The lifetime of a CA. A new one is issued when a third is left, which must be longer than the lifetime of a leaf.
    pub ca: Duration,
    /// The lifetime of a leaf. A new one is issued when a third is left.
    pub leaf: Duration,
    /// The longest time until all replicas and API servers know a change.
    pub overlap: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        // Replicas check every few seconds. An hour is enough for one that was disconnected.
        Self { ca: day * 365, leaf: day * 90, overlap: Duration::from_hours(1) }
    }
}

/// The stored certificates: what all replicas serve, and what clients trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The CA certificates that clients trust, as PEM, the newest first: the `caBundle` of a webhook.
    pub bundle: String,
    /// The private key of the newest CA.
    pub ca_key: CaKey,
    /// The served certificate and key.
    pub pair: PemPair,
}

/// A CA's private key as PEM. It is never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct CaKey(pub String);

impl std::fmt::Debug for CaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CaKey")
    }
}

/// Why the stored certificates change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing was stored, or nothing usable.
    Everything,
    /// A new CA is trusted. It signs nothing yet.
    NewAuthority,
    /// A new leaf, signed by the newest CA. The old leaf is due, has expired, or is unusable.
    NewLeaf,
    /// Nobody serves a leaf of the old CA any more, so it is removed.
    OldAuthorityGone,
}

/// What must be stored instead of `kept` at `now`; `None` if nothing has to change. It changes one thing at a time.
pub fn next(
    kept: Option<&Kept>,
    names: &[&str],
    lifetimes: &Lifetimes,
    now: SystemTime,
) -> Result<Option<(Change, Kept)>, IssueError> {
    let known = kept.and_then(|kept| Some((kept, Facts::read(kept)?)));
    let Some((kept, facts)) = known.filter(|(_, facts)| facts.newest().is_some_and(|newest| newest.expires > now))
    else {
        return Ok(Some((Change::Everything, everything(names, lifetimes, now)?)));
    };
    let Facts { authority, authorities, leaf } = &facts;
    let new_leaf = || {
        let pair = authority.serving_at(names, lifetimes.leaf, now)?;
        Ok(Some((Change::NewLeaf, Kept { pair, ..kept.clone() })))
    };
    // The CAs are valid, so replicas that still serve one of their leaves stay trusted.
    let (Some((newest, newest_pem)), Some((leaf, signer))) = (authorities.first(), leaf) else { return new_leaf() };
    if leaf.expires <= now {
        return new_leaf();
    }
    let signs_by_newest = *signer == 0;
    if signs_by_newest && newest.is_due(lifetimes.ca, now) {
        let authority = self::authority(lifetimes, now)?;
        let old = authorities.iter().filter(|(facts, _)| facts.expires > now).map(|(_, pem)| pem.as_str());
        let bundle = std::iter::once(authority.cert()).chain(old).collect();
        let ca_key = CaKey(authority.key());
        return Ok(Some((Change::NewAuthority, Kept { bundle, ca_key, pair: kept.pair.clone() })));
    }
    let is_trusted = newest.issued + lifetimes.overlap <= now || authorities.len() == 1;
    if is_trusted && (!signs_by_newest || leaf.is_due(lifetimes.leaf, now) || !leaf.is_for(names)) {
        return new_leaf();
    }
    if signs_by_newest && authorities.len() > 1 && leaf.issued + lifetimes.overlap <= now {
        return Ok(Some((Change::OldAuthorityGone, Kept { bundle: newest_pem.clone(), ..kept.clone() })));
    }
    Ok(None)
}

fn everything(names: &[&str], lifetimes: &Lifetimes, now: SystemTime) -> Result<Kept, IssueError> {
    let authority = authority(lifetimes, now)?;
    let pair = authority.serving_at(names, lifetimes.leaf, now)?;
    Ok(Kept { bundle: authority.cert().to_owned(), ca_key: CaKey(authority.key()), pair })
}

fn authority(lifetimes: &Lifetimes, now: SystemTime) -> Result<Authority, IssueError> {
    Authority::new_at("redis-log-shipper webhook CA", lifetimes.ca, now)
}

/// The facts about the stored certificates that matter for the decision.
struct Facts {
    /// The newest CA, with its key.
    authority: Authority,
    /// The CA certificates of the bundle, the newest first, each with its PEM.
    authorities: Vec<(Certificate, String)>,
    /// The leaf, and the index of the CA in the bundle that signed it; `None` if the leaf is unusable.
    leaf: Option<(Certificate, usize)>,
}

impl Facts {
    /// `None` if the newest CA cannot sign, or any other CA certificate is unreadable.
    fn read(kept: &Kept) -> Option<Self> {
        let ders = CertificateDer::pem_slice_iter(kept.bundle.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
        let pems = kept.bundle.split_inclusive("-----END CERTIFICATE-----\n");
        let authorities: Vec<_> = ders
            .iter()
            .zip(pems)
            .map(|(der, pem)| Some((Certificate::read(der)?, pem.to_owned())))
            .collect::<Option<_>>()?;
        let (_, newest) = authorities.first()?;
        let authority = Authority::from_pem(newest, &kept.ca_key.0)?;
        let leaf = leaf(&kept.pair).and_then(|leaf| {
            let signer = authorities.iter().position(|(authority, _)| authority.id == leaf.issuer)?;
            Some((leaf, signer))
        });
        Some(Self { authority, authorities, leaf })
    }

    fn newest(&self) -> Option<&Certificate> {
        self.authorities.first().map(|(newest, _)| newest)
    }
}

fn leaf(pair: &PemPair) -> Option<Certificate> {
    crate::read::RawPair::new(pair).parse("".as_ref(), &rustls::crypto::ring::default_provider()).ok()?;
    Certificate::read(&CertificateDer::from_pem_slice(pair.cert.as_bytes()).ok()?)
}

/// The facts about one certificate that matter for the decision.
struct Certificate {
    issued: SystemTime,
    expires: SystemTime,
    /// The identifier of its own key.
    id: Option<Vec<u8>>,
    /// The identifier of the key that signed it.
    issuer: Option<Vec<u8>>,
    names: Vec<String>,
}

impl Certificate {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let (mut id, mut signed_by) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(key) => id = Some(key.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    signed_by = key.key_identifier.as_ref().map(|key| key.0.to_vec());
                }
                _ => {}
            }
        }
        let issued = time(certificate.validity().not_before.timestamp())? + BACKDATED;
        let expires = time(certificate.validity().not_after.timestamp())?;
        Some(Self { issued, expires, id, issuer: signed_by, names: names(&certificate) })
    }

    /// Whether less than a third of `lifetime` is left.
    fn is_due(&self, lifetime: Duration, now: SystemTime) -> bool {
        now + lifetime / 3 > self.expires
    }

    fn is_for(&self, names: &[&str]) -> bool {
        // An IP address has several spellings.
        let address = |name: &str| name.parse::<IpAddr>().ok();
        let is = |mine: &str, name: &str| mine == name || address(name).is_some_and(|name| address(mine) == Some(name));
        names.iter().all(|name| self.names.iter().any(|mine| is(mine, name)))
    }
}

fn time(seconds: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(IpAddr::from(bytes).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    names.filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    const NAMES: [&str; 2] = ["webhook.ns.svc", "127.0.0.1"];
    const DAY: Duration = Duration::from_hours(24);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * 20_000
    }

    fn step(kept: Option<&Kept>, now: SystemTime) -> Option<(Change, Kept)> {
        next(kept, &NAMES, &Lifetimes::default(), now).unwrap()
    }

    /// Whether rustls accepts `leaf` as a client that trusts `bundle`.
    fn accepts(bundle: &str, leaf: &PemPair, now: SystemTime) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(ca.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap();
        let name = ServerName::try_from(NAMES[0]).unwrap();
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        verifier.verify_server_cert(&leaf, &[], &name, &[], now).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn issues_everything_once() {
        let (change, kept) = step(None, start()).unwrap();
        assert_eq!(change, Change::Everything);
        accepts(&kept.bundle, &kept.pair, start()).unwrap();
        assert_eq!(step(Some(&kept), start()), None);
    }

    #[test]
    fn issues_a_damaged_or_expired_ca_again_with_its_leaf() {
        let (_, kept) = step(None, start()).unwrap();
        let (_, other) = step(None, start()).unwrap();
        let damaged = [
            Kept { bundle: String::new(), ..kept.clone() },
            Kept { bundle: kept.bundle.split_at(kept.bundle.len() / 2).0.to_owned(), ..kept.clone() },
            Kept { ca_key: other.ca_key.clone(), ..kept.clone() },
            Kept { ca_key: CaKey(String::new()), ..kept.clone() },
        ];
        for damaged in damaged {
            assert_eq!(step(Some(&damaged), start()).unwrap().0, Change::Everything, "{damaged:?}");
        }
        assert_eq!(step(Some(&kept), start() + DAY * 366).unwrap().0, Change::Everything, "expired");
    }

    #[test]
    fn issues_a_damaged_or_expired_leaf_again_with_the_trusted_ca() {
        let (_, kept) = step(None, start()).unwrap();
        let (_, other) = step(None, start()).unwrap();
        let damaged = [
            Kept { pair: other.pair.clone(), ..kept.clone() },
            Kept { pair: PemPair { key: other.pair.key, ..kept.pair.clone() }, ..kept.clone() },
            Kept { pair: PemPair { cert: "half a certif".to_owned(), ..kept.pair.clone() }, ..kept.clone() },
        ];
        let damaged = damaged.iter().map(|damaged| (damaged, start()));
        for (damaged, now) in damaged.chain([(&kept, start() + DAY * 91)]) {
            let (change, new) = step(Some(damaged), now).unwrap();
            assert_eq!((change, &new.bundle), (Change::NewLeaf, &kept.bundle), "{damaged:?}");
            accepts(&new.bundle, &new.pair, now).unwrap();
        }
    }

    #[test]
    fn issues_a_new_leaf_for_a_new_name() {
        let (_, kept) = step(None, start()).unwrap();
        let (change, _) = next(Some(&kept), &["another.ns.svc"], &Lifetimes::default(), start()).unwrap().unwrap();
        assert_eq!(change, Change::NewLeaf);
    }

    #[test]
    fn compares_addresses_and_not_their_spelling() {
        let names = ["0:0:0:0:0:0:0:1", "FD00::A"];
        let (_, kept) = next(None, &names, &Lifetimes::default(), start()).unwrap().unwrap();
        assert_eq!(next(Some(&kept), &names, &Lifetimes::default(), start()).unwrap(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Three years, with checks now and then. Whoever knows the state of up to one overlap ago accepts whoever knows
        /// the current state, and the other way round.
        #[test]
        fn clients_and_replicas_accept_each_other_during_every_rotation(hours in proptest::collection::vec(1..72_u64, 1..40)) {
            let overlap = Lifetimes::default().overlap;
            let mut now = start();
            let mut history = vec![(now, step(None, now).unwrap().1)];
            let mut changes = Vec::new();
            for hours in hours.iter().cycle() {
                while let Some((change, kept)) = step(history.last().map(|(_, kept)| kept), now) {
                    changes.push(change);
                    history.push((now, kept));
                }
                // The states that somebody may still have: those replaced within the overlap, and the current one.
                let replaced = |at: usize| history.get(at + 1).map(|(when, _)| *when);
                let known = (0..history.len()).filter(|at| replaced(*at).is_none_or(|when| when + overlap > now));
                let known: Vec<_> = known.map(|at| &history[at].1).collect();
                for trusting in &known {
                    for serving in &known {
                        let accepted = accepts(&trusting.bundle, &serving.pair, now);
                        prop_assert!(accepted.is_ok(), "{accepted:?} after {changes:?}");
                    }
                }
                if now > start() + DAY * 3 * 365 {
                    break;
                }
                now += Duration::from_hours(*hours);
            }
            prop_assert!(!changes.contains(&Change::Everything), "{changes:?}");
            for change in [Change::NewAuthority, Change::NewLeaf, Change::OldAuthorityGone] {
                prop_assert!(changes.contains(&change), "{changes:?}");
            }
        }
    }
}
