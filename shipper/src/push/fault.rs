//! Why no answer came: the faults of a connection, as far as its error tells them apart.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as TlsError};

/// What keeps an answer from coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFault {
    /// The host name cannot be resolved.
    UnknownName,
    /// Nothing listens on the port.
    Refused,
    /// No packet gets there.
    NoRoute,
    /// No answer in time.
    Timeout,
    /// The connection broke off.
    Broken,
    /// No trusted CA signed the certificate.
    UntrustedCertificate,
    /// The certificate is for another name.
    CertificateOfAnotherName,
    /// The certificate has expired, or is not valid yet.
    CertificateOutOfDate,
    /// The certificate is invalid for another reason.
    InvalidCertificate,
    /// The port does not speak TLS.
    NoTls,
    /// The TLS handshake failed for another reason.
    Tls,
    /// Anything else.
    Other,
}

impl ConnectionFault {
    /// The fault that `error` and its causes name.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        let mut found = Self::Other;
        while let Some(error) = next {
            // A deeper cause is more precise.
            if let Some(fault) = Self::of_one(error) {
                found = fault;
            }
            next = error.source();
        }
        found
    }

    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<TlsError>() {
            return Some(Self::of_tls(error));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_incomplete_message().then_some(Self::Broken);
        }
        let Some(io) = error.downcast_ref::<io::Error>() else {
            // hyper-util keeps the type of this error for itself.
            return (error.to_string() == "dns error").then_some(Self::UnknownName);
        };
        // `source()` of an I/O error skips the error that it wraps.
        let wrapped = io.get_ref().and_then(|inner| Self::of_one(inner));
        wrapped.or_else(|| Self::of_kind(io.kind()))
    }

    fn of_kind(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NotConnected => {
                Some(Self::NoRoute)
            }
            io::ErrorKind::TimedOut => Some(Self::Timeout),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(Self::Broken),
            _ => None,
        }
    }

    fn of_tls(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(invalid) => match invalid {
                // A CA of the same name with another key signs with a bad signature.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UntrustedCertificate,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::CertificateOfAnotherName
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::CertificateOutOfDate,
                _ => Self::InvalidCertificate,
            },
            TlsError::InvalidMessage(_) => Self::NoTls,
            _ => Self::Tls,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn finds_the_tls_error_inside_an_io_error() {
        let cases = [
            (TlsError::InvalidCertificate(CertificateError::UnknownIssuer), ConnectionFault::UntrustedCertificate),
            (TlsError::InvalidCertificate(CertificateError::BadSignature), ConnectionFault::UntrustedCertificate),
            (
                TlsError::InvalidCertificate(CertificateError::NotValidForName),
                ConnectionFault::CertificateOfAnotherName,
            ),
            (TlsError::InvalidCertificate(CertificateError::Expired), ConnectionFault::CertificateOutOfDate),
            (TlsError::InvalidCertificate(CertificateError::Revoked), ConnectionFault::InvalidCertificate),
            (TlsError::InvalidMessage(InvalidMessage::InvalidContentType), ConnectionFault::NoTls),
            (TlsError::HandshakeNotComplete, ConnectionFault::Tls),
        ];
        for (error, fault) in cases {
            let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            assert_eq!(ConnectionFault::of(&wrapped), fault);
        }
    }

    #[test]
    fn tells_network_faults_apart() {
        for (kind, fault) in [
            (io::ErrorKind::ConnectionRefused, ConnectionFault::Refused),
            (io::ErrorKind::NetworkUnreachable, ConnectionFault::NoRoute),
            (io::ErrorKind::TimedOut, ConnectionFault::Timeout),
            (io::ErrorKind::ConnectionReset, ConnectionFault::Broken),
            (io::ErrorKind::PermissionDenied, ConnectionFault::Other),
        ] {
            assert_eq!(ConnectionFault::of(&io::Error::from(kind)), fault);
        }
    }
}
