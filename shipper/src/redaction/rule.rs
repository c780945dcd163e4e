//! The rules by name, for metrics and the position record.

use serde::{Deserialize, Serialize};

/// The rules of the table, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table says what each is about")]
pub enum Rule {
    Pem,
    License,
    Authorization,
    Bearer,
    Cookie,
    Jwt,
    Url,
    RedisAuth,
    RedisAcl,
    RedisConfig,
    CrashArgument,
    LdapBind,
    CommandLine,
    Password,
    Secret,
    Token,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Pem,
        Self::License,
        Self::Authorization,
        Self::Bearer,
        Self::Cookie,
        Self::Jwt,
        Self::Url,
        Self::RedisAuth,
        Self::RedisAcl,
        Self::RedisConfig,
        Self::CrashArgument,
        Self::LdapBind,
        Self::CommandLine,
        Self::Password,
        Self::Secret,
        Self::Token,
    ];

    /// Its stable name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pem => "pem",
            Self::License => "license",
            Self::Authorization => "authorization",
            Self::Bearer => "bearer",
            Self::Cookie => "cookie",
            Self::Jwt => "jwt",
            Self::Url => "url",
            Self::RedisAuth => "redis_auth",
            Self::RedisAcl => "redis_acl",
            Self::RedisConfig => "redis_config",
            Self::CrashArgument => "crash_argument",
            Self::LdapBind => "ldap_bind",
            Self::CommandLine => "command_line",
            Self::Password => "password",
            Self::Secret => "secret",
            Self::Token => "token",
        }
    }
}
