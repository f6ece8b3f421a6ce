//! Images of a server, with the SDK and the command line.

use std::fs;
use std::path::Path;

use boxherd_client::{Command, Error, NewBox};

use crate::rootfs::rootfs;
use crate::server::with_server;

with_server! {
    an_image_is_sent_and_booted(server) {
        let folder = tempfile::tempdir().unwrap();
        let tarball = rootfs(folder.path());
        let client = server.client().await;
        let images = client.images();
        let mut steps = Vec::new();
        let made = images.import("tiny", &tarball, |step| steps.push(step)).await.unwrap();
        assert!(made.name == "tiny" && made.digest.starts_with("sha256:") && made.size > 1 << 20);
        assert!(steps.iter().all(|step| step.item == "tiny"), "{steps:?}");
        assert!(steps[0].total.is_some() && steps.last().unwrap().ended, "{steps:?}");
        assert_eq!(images.list().await.unwrap(), [made]);

        let boxes = client.boxes();
        boxes.create(NewBox { image: "tiny".to_owned(), ..NewBox::named("web") }).await.unwrap();
        let said = boxes.exec("web", Command::argv(["cat", "/etc/passwd"])).await.unwrap();
        assert_eq!(said.output().await.unwrap().stdout, b"root:x:0:0:root:/:/bin/sh\n");
        boxes.destroy("web").await.unwrap();

        for format in ["json", "yaml", "name"] {
            let ask = ["image", "ls", "-o", format];
            assert_eq!(server.boxherd(&ask).ok(), server.lab.boxherd(&ask).ok(), "{format}");
        }
        images.remove("tiny").await.unwrap();
        assert_eq!(images.list().await.unwrap(), []);
        let twice = images.remove("tiny").await;
        assert!(matches!(twice, Err(Error::NotFound(_) | Error::WrongState(_))), "{twice:?}");
        server.boxherd(&["image", "import", "tiny", &tarball.to_string_lossy()]).ok();
        assert_eq!(server.boxherd(&["image", "ls", "-q"]).ok(), "tiny\n");
        server.boxherd(&["image", "rm", "tiny"]).ok();
    }

    an_image_that_is_no_image_leaves_nothing(server) {
        let client = server.client().await;
        let images = client.images();
        let folder = tempfile::tempdir().unwrap();
        let junk = folder.path().join("junk");
        fs::write(&junk, vec![7; 100_000]).unwrap();
        let refused = images.import("junk", &junk, |_| {}).await;
        assert!(refused.is_err(), "{refused:?}");
        let gone = images.import("junk", folder.path().join("none"), |_| {}).await;
        assert!(matches!(gone, Err(Error::Source(_))), "{gone:?}");
        let nonsense = images.import("..", &junk, |_| {}).await;
        assert!(matches!(nonsense, Err(Error::Invalid(_))), "{nonsense:?}");
        // Nobody listens there.
        let nowhere = images.pull("127.0.0.1:9/app:1", |_| {}).await;
        assert!(nowhere.is_err(), "{nowhere:?}");
        assert_eq!(images.list().await.unwrap(), []);
        let said = server.boxherd(&["image", "build", "host"]);
        assert!(said.err.contains("debian:CODENAME"), "{said:?}");
        assert_eq!(named(&server.lab.data()), Vec::<String>::new(), "what was sent is left");
    }
}

/// The files in a data folder that have a name like a temporary one.
fn named(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains("tmp")).collect()
}
