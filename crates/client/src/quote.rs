//! Commands as the wire has them: one line for a POSIX shell. Pure.

use tonic::Code;

use crate::{Error, Refusal};

/// A word that a shell takes as it is, whatever is in it.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+:,./-_".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// A program and its arguments. The program is quoted where a shell would take it for a word of its
/// own, such as `if`.
pub(crate) fn argv(argv: &[String]) -> String {
    let program = argv.first().map(|program| {
        let lower = !program.is_empty() && program.chars().all(|c| c.is_ascii_lowercase());
        if lower && RESERVED.contains(&program.as_str()) { quoted(program) } else { word(program) }
    });
    let rest = argv.iter().skip(1).map(|argument| word(argument));
    program.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

const RESERVED: [&str; 13] = [
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in",
];

/// What comes before a command: its variables and its folder.
pub(crate) fn prefix(env: &[(String, String)], folder: Option<&str>) -> Result<String, Error> {
    let mut line = String::new();
    if let Some(folder) = folder {
        line.push_str(&format!("cd -- {} && ", word(folder)));
    }
    for (key, value) in env {
        if !is_name(key) {
            let message = format!("`{key}` is no name of a variable that a shell can set");
            return Err(Error::Invalid(Refusal::new(Code::InvalidArgument, message)));
        }
        line.push_str(&format!("export {key}={} && ", quoted(value)));
    }
    Ok(line)
}

fn is_name(key: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    key.starts_with(letter) && key.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> String {
        argv(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_shell_gives_back_what_was_meant() {
        assert_eq!(
            words(&["echo", "a b", "", "it's", "$HOME", "-x"]),
            r#"echo 'a b' '' 'it'"'"'s' '$HOME' -x"#
        );
        assert_eq!(words(&["if"]), "'if'");
        assert_eq!(words(&["A=b"]), "'A=b'");
    }

    #[test]
    fn variables_and_folder_come_first() {
        let env = [("A".to_owned(), "b c".to_owned())];
        assert_eq!(prefix(&env, Some("/a b")).unwrap(), "cd -- '/a b' && export A='b c' && ");
        let bad = [("A;reboot".to_owned(), String::new())];
        assert!(matches!(prefix(&bad, None), Err(Error::Invalid(_))));
    }
}
