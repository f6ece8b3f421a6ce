//! What the lab itself does with a running server, by the server's own client.

use anyhow::Context as _;

use crate::lab::daemon::Daemon;
use crate::lab::image::Image;

/// Puts an image into the store of the server, under its alias.
pub(crate) fn import(daemon: &Daemon, image: &Image) -> anyhow::Result<()> {
    let metadata = image.metadata.to_str().context("the folder is not UTF-8")?;
    let rootfs = image.rootfs.to_str().context("the folder is not UTF-8")?;
    let import = ["image", "import", metadata, rootfs, "--alias", image.alias, "--quiet"];
    daemon.client(&import).map(drop)
}

/// All guests of all projects, as `(project, name)`.
pub(crate) fn list(daemon: &Daemon) -> anyhow::Result<Vec<(String, String)>> {
    let arguments = ["list", "--all-projects", "--format", "csv", "-c", "en"];
    let text = daemon.client(&arguments)?;
    let pairs = text.lines().filter_map(|line| line.split_once(','));
    Ok(pairs.map(|(project, name)| (project.to_owned(), name.to_owned())).collect())
}

/// Deletes all guests of all projects, running or not.
pub(crate) fn delete_all(daemon: &Daemon) -> anyhow::Result<()> {
    for (project, name) in list(daemon)? {
        daemon.client(&["delete", "--force", "--project", &project, &name])?;
    }
    Ok(())
}
