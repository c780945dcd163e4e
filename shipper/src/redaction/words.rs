//! Distinguishes a command line from a sentence.

use memchr::memmem;

use super::window::Window;

/// Words that precede the secrets of command lines.
const COMMANDS: [&[u8]; 12] = [
    b"rladmin",
    b"rlutil",
    b"crdb-cli",
    b"redis-cli",
    b"ldap",
    b"curl",
    b"command:",
    b"Command '",
    b"cmd",
    b"cluster create",
    b"cluster join",
    b"username ",
];

/// Words after `password`, `AUTH` or `Bearer` in a sentence. They are no secrets.
const PROSE: &[&[u8]] = &[
    b"a",
    b"after",
    b"again",
    b"age",
    b"algorithm",
    b"already",
    b"an",
    b"and",
    b"are",
    b"as",
    b"at",
    b"attempt",
    b"auth",
    b"authentication",
    b"authorization",
    b"based",
    b"be",
    b"because",
    b"before",
    b"but",
    b"by",
    b"called",
    b"can",
    b"cannot",
    b"change",
    b"changed",
    b"changes",
    b"check",
    b"checks",
    b"command",
    b"commands",
    b"complexity",
    b"configured",
    b"could",
    b"denied",
    b"did",
    b"disabled",
    b"does",
    b"doesn't",
    b"enabled",
    b"entry",
    b"error",
    b"expiration",
    b"expired",
    b"expires",
    b"expiry",
    b"fail",
    b"failed",
    b"failure",
    b"field",
    b"file",
    b"files",
    b"for",
    b"from",
    b"given",
    b"had",
    b"has",
    b"hash",
    b"hashes",
    b"hashing",
    b"have",
    b"if",
    b"in",
    b"incorrect",
    b"invalid",
    b"is",
    b"isn't",
    b"it",
    b"key",
    b"length",
    b"login",
    b"management",
    b"match",
    b"matches",
    b"may",
    b"mismatch",
    b"missing",
    b"must",
    b"needed",
    b"needs",
    b"no",
    b"not",
    b"of",
    b"ok",
    b"on",
    b"or",
    b"pair",
    b"pairs",
    b"policies",
    b"policy",
    b"prompt",
    b"protected",
    b"protection",
    b"provided",
    b"received",
    b"rejected",
    b"request",
    b"requests",
    b"required",
    b"requirements",
    b"reset",
    b"response",
    b"rotated",
    b"rotation",
    b"rule",
    b"rules",
    b"scheme",
    b"set",
    b"should",
    b"so",
    b"strength",
    b"string",
    b"succeeded",
    b"success",
    b"successful",
    b"supplied",
    b"than",
    b"that",
    b"the",
    b"then",
    b"timed",
    b"timeout",
    b"to",
    b"token",
    b"tokens",
    b"too",
    b"type",
    b"update",
    b"updated",
    b"updates",
    b"user",
    b"username",
    b"users",
    b"using",
    b"validation",
    b"value",
    b"verification",
    b"verified",
    b"via",
    b"was",
    b"were",
    b"when",
    b"while",
    b"will",
    b"with",
    b"without",
    b"wrong",
];

/// Whether `at` is in a command line.
pub(super) fn is_command(window: &Window<'_>, at: usize) -> bool {
    let line = window.line_before(at);
    let goes_on = window.command && line.len() == at;
    goes_on || COMMANDS.iter().any(|command| memmem::find(line, command).is_some())
}

/// Whether the word at `at` belongs to a sentence.
pub(super) fn is_prose(window: &Window<'_>, at: usize) -> bool {
    let end = window.run(at, |byte| byte > b' ');
    let word = window.part(at, end);
    let word = word.trim_ascii_end();
    let len =
        word.iter().rposition(|byte| !matches!(byte, b'.' | b',' | b';' | b':' | b'!' | b'?' | b')' | b'"' | b'\''));
    let word = len.and_then(|last| word.get(..=last)).unwrap_or_default();
    word.is_empty() || PROSE.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_each_word_of_a_sentence_once() {
        assert!(PROSE.is_sorted_by(|a, b| a < b));
    }
}
