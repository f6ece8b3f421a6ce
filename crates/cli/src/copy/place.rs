//! Where a copy goes, by the rules of `docker cp`. Pure.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// What it would be called in a directory; `None` for a root.
    name: Option<String>,
    is_directory: bool,
    /// It was written `DIR/.`: the content, and not the directory.
    only_content: bool,
}

/// What is at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Other,
}

impl Source {
    /// What is at `path`.
    pub(super) fn new(path: &Path, is_directory: bool) -> Result<Self, Failure> {
        let text = path.to_str().ok_or_else(|| {
            Failure::usage(format!("`{}` is not UTF-8", path.display()))
                .hint("copy the directory that it is in")
        })?;
        let only_content = text == "." || text.ends_with("/.");
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Ok(Self { name, is_directory, only_content })
    }
}

impl Source {
    /// What the names in an archive of it begin with.
    pub(super) fn prefix(&self) -> &str {
        match &self.name {
            Some(name) if self.is_directory && !self.only_content => name,
            _ => "",
        }
    }
}

/// The path of the copy.
pub(super) fn place(source: &Source, to: &Path, found: Found) -> Result<PathBuf, Failure> {
    let wants_directory = to.as_os_str().as_encoded_bytes().ends_with(b"/");
    let shown = to.display();
    match (source.is_directory, found) {
        (_, Found::Directory) if source.only_content => Ok(to.to_owned()),
        (_, Found::Directory) => {
            Ok(source.name.as_ref().map_or(to.to_owned(), |name| to.join(name)))
        }
        (true, Found::Nothing) => Ok(to.to_owned()),
        (false, Found::Nothing) if wants_directory => {
            Err(Failure::new("no-such-directory", format!("there is no directory `{shown}`")))
        }
        (false, Found::Other) if wants_directory => {
            Err(Failure::new("not-a-directory", format!("`{shown}` is not a directory")))
        }
        (true, Found::Other) => Err(Failure::new(
            "not-a-directory",
            format!("`{shown}` is not a directory, so a directory cannot be copied there"),
        )),
        (false, Found::Nothing | Found::Other) => Ok(to.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(from: &str, is_directory: bool, to: &str, found: Found) -> Option<String> {
        let source = Source::new(Path::new(from), is_directory).unwrap();
        let path = place(&source, Path::new(to), found).ok()?;
        Some(path.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_archive_carries_the_name_that_docker_gives_it() {
        let prefix = |path, is_directory| {
            Source::new(Path::new(path), is_directory).unwrap().prefix().to_owned()
        };
        assert_eq!(prefix("/srv/d", true), "d");
        assert_eq!(prefix("/srv/d/", true), "d");
        assert_eq!(prefix("/srv/d/.", true), "");
        assert_eq!(prefix("/", true), "");
        assert_eq!(prefix("/srv/f", false), "", "a file is an entry by its own name");
    }

    #[test]
    fn a_file_goes_where_docker_puts_it() {
        let file = |to, found| placed("a/f", false, to, found);
        assert_eq!(file("/new", Found::Nothing).unwrap(), "/new");
        assert_eq!(file("/old", Found::Other).unwrap(), "/old");
        assert_eq!(file("/dir", Found::Directory).unwrap(), "/dir/f");
        assert_eq!(file("/new/", Found::Nothing), None);
        assert_eq!(file("/old/", Found::Other), None);
    }

    #[test]
    fn a_directory_goes_where_docker_puts_it() {
        let tree = |from, to, found| placed(from, true, to, found);
        assert_eq!(tree("a/d", "/new", Found::Nothing).unwrap(), "/new");
        assert_eq!(tree("a/d", "/dir", Found::Directory).unwrap(), "/dir/d");
        assert_eq!(tree("a/d/", "/dir", Found::Directory).unwrap(), "/dir/d");
        assert_eq!(tree("a/d/.", "/dir", Found::Directory).unwrap(), "/dir");
        assert_eq!(tree(".", "/dir", Found::Directory).unwrap(), "/dir");
        assert_eq!(tree("/", "/dir", Found::Directory).unwrap(), "/dir");
        assert_eq!(tree("a/d", "/old", Found::Other), None);
    }
}
