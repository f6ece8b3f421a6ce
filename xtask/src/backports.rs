//! Debian's backports, which a machine need not have among its package sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where apt looks for sources.
const SOURCES: &str = "/etc/apt/sources.list.d";
/// What this file adds.
const OURS: &str = "boxherd-backports.sources";

/// Sees to it that backports are among the sources, and says what they are called; `None` when
/// nothing here tells where the machine gets Debian from. They are derived from the sources that it
/// has, so that a machine with a mirror of its own keeps to it.
pub(crate) fn enable() -> anyhow::Result<Option<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(SOURCES)
        .with_context(|| format!("cannot list `{SOURCES}`"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sources"))
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file);
        let text = text.with_context(|| format!("cannot read `{}`", file.display()))?;
        if let Some((suite, stanza)) = derive(&text) {
            let ours = Path::new(SOURCES).join(OURS);
            fs::write(&ours, stanza)
                .with_context(|| format!("cannot write `{}`", ours.display()))?;
            return Ok(Some(suite));
        }
    }
    Ok(None)
}

/// The suite of backports, and a stanza for it, from the stanza of updates in `sources`. Pure.
fn derive(sources: &str) -> Option<(String, String)> {
    sources.split("\n\n").find_map(|stanza| {
        let lines = || stanza.lines().filter(|line| !line.starts_with('#'));
        let suites = lines().find_map(|line| line.strip_prefix("Suites:"))?;
        let codename =
            suites.split_whitespace().find_map(|suite| suite.strip_suffix("-updates"))?;
        let backports = format!("{codename}-backports");
        let derived = lines().map(|line| match line.starts_with("Suites:") {
            true => format!("Suites: {backports}\n"),
            false => format!("{line}\n"),
        });
        let derived = derived.collect();
        Some((backports, derived))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "Types: deb\n# a comment\nURIs: mirror\nSuites: bookworm bookworm-updates\n\
                          Components: main\nSigned-By: /keyring\n\n\
                          Types: deb\nURIs: mirror-security\nSuites: bookworm-security\n";

    #[test]
    fn backports_are_where_updates_are() {
        let (suite, stanza) = derive(DEBIAN).unwrap();
        assert_eq!(suite, "bookworm-backports");
        assert_eq!(
            stanza,
            "Types: deb\nURIs: mirror\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: /keyring\n"
        );
    }

    #[test]
    fn sources_of_others_tell_nothing() {
        assert_eq!(derive("Types: deb\nURIs: elsewhere\nSuites: stable\n"), None);
        assert_eq!(derive(""), None);
    }
}
