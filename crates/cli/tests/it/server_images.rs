//! Images of servers: taken from files, fetched from other servers and from streams.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use boxherd_testkit::LxdLab;
use sha2::{Digest as _, Sha256};

use crate::engines::{Lxd, name};
use crate::lab::Said;

/// Files that become images, made of the lab's `tiny`.
struct Files {
    folder: tempfile::TempDir,
    rootfs: PathBuf,
}

impl Files {
    fn new(server: &LxdLab) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, rootfs: server.cache.join("tiny.tar") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    /// Metadata unlike those of other images: the fingerprint is made of them.
    fn metadata(&self, mark: &str) -> String {
        let text = format!(
            "architecture: x86_64\ncreation_date: 1700000000\nproperties: {{mark: {mark}}}\n"
        );
        fs::write(self.path("metadata.yaml"), text).expect("a file");
        self.tar("metadata.tar", self.folder.path(), &["metadata.yaml"])
    }

    /// Metadata and root file system in one archive.
    fn whole(&self, mark: &str) -> String {
        self.metadata(mark);
        let root = self.path("rootfs");
        fs::create_dir(&root).expect("a folder");
        run(Command::new("tar").arg("-xf").arg(&self.rootfs).arg("-C").arg(&root));
        self.tar("whole.tar.gz", self.folder.path(), &["metadata.yaml", "rootfs"])
    }

    fn tar(&self, name: &str, of: &Path, what: &[&str]) -> String {
        let mut tar = Command::new("tar");
        run(tar.arg("-C").arg(of).arg("-caf").arg(self.path(name)).args(what));
        self.text(name)
    }

    fn rootfs(&self) -> &str {
        self.rootfs.to_str().expect("text")
    }
}

fn run(command: &mut Command) {
    assert!(command.status().expect("it runs").success(), "{command:?}");
}

/// Makes a box of an image, and sees that it runs.
fn use_image(lxd: &Lxd, image: &str) {
    let web = format!("lab:{}", name("of-image"));
    lxd.lab.boxherd(&["create", &web, "--image", image]).ok();
    assert_eq!(lxd.lab.boxherd(&["exec", &web, "echo", "alive"]).ok(), "alive\n");
    lxd.lab.boxherd(&["rm", "--force", &web]).ok();
}

#[test]
fn files_become_images_of_a_server() {
    let Some(lxd) = Lxd::open("files_become_images_of_a_server") else { return };
    lxd.add("lab", &[]).ok();
    let files = Files::new(&lxd.server);
    let of = |args: &[&str]| lxd.lab.boxherd(&[&["image"], args, &["--engine", "lab"]].concat());
    let (whole, split, plain) = (name("whole"), name("split"), name("plain"));

    let file = files.whole(&whole);
    let said = of(&["import", &whole, &file]).ok();
    let digest = said.split_whitespace().nth(1).expect("a digest");
    let sum = Sha256::digest(fs::read(&file).expect("a file"));
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, format!("sha256:{sum}"));
    let metadata = files.metadata(&split);
    of(&["import", &split, &metadata, files.rootfs()]).ok();
    of(&["import", &plain, files.rootfs()]).ok();
    let listed = of(&["ls", "-q"]).ok();
    for image in [&whole, &split, &plain] {
        assert!(listed.lines().any(|line| line == image), "{listed}");
        use_image(&lxd, image);
    }
    assert!(!lxd.lab.boxherd(&["image", "ls", "-q"]).ok().contains(&whole), "it is the server's");

    // What the server has already gets one more name, and keeps it when the other goes.
    let again = name("split-again");
    of(&["import", &again, &metadata, files.rootfs()]).ok();
    of(&["rm", &split]).ok();
    use_image(&lxd, &again);
    let taken = of(&["import", &plain, files.rootfs()]);
    assert!(taken.err.contains("has an image of that name"), "{taken:?}");
    of(&["rm", &whole, &again, &plain]).ok();
    let left = of(&["ls", "-q"]).ok();
    assert!(![&whole, &split, &plain, &again].iter().any(|name| left.contains(*name)), "{left}");
    assert!(of(&["rm", &plain]).err.contains("no such image"));
}

#[test]
fn files_that_are_no_images_are_refused() {
    let Some(lxd) = Lxd::open("files_that_are_no_images_are_refused") else { return };
    lxd.add("lab", &[]).ok();
    let files = Files::new(&lxd.server);
    let image = name("refused");
    let import = |paths: &[&str]| -> Said {
        lxd.lab.boxherd(&[&["image", "import", "--engine", "lab", &image], paths].concat())
    };
    let file = |name: &str, content: &[u8]| {
        fs::write(files.path(name), content).expect("a file");
        files.text(name)
    };
    let metadata = files.metadata(&image);
    file("index.json", b"{}");
    let oci = files.tar("oci.tar", files.folder.path(), &["index.json"]);
    let text = file("text", b"this is no archive");
    // The server looks into what we cannot.
    let torn = file("torn.tar.xz", b"\xfd7zXZ\0 and nothing more");
    for (paths, why) in [
        (&[metadata.as_str()][..], "no root file system"),
        (&[&oci], "OCI archive"),
        (&[&text], "text`"),
        (&[&torn], "the server cannot take it"),
        (&["/nowhere/file"], "/nowhere/file"),
        (&[files.rootfs(), files.rootfs()], "no metadata of an image"),
        (&[&metadata, &metadata], "no root file system of an image"),
    ] {
        let refused = import(paths);
        assert!(refused.code == Some(1) && refused.err.contains(why), "{paths:?}: {refused:?}");
    }
    let built = lxd.lab.boxherd(&["image", "build", "debian:bookworm", "--engine", "lab"]);
    assert!(built.err.contains("of the machine itself only"), "{built:?}");
    let split = lxd.lab.boxherd(&["image", "import", "two", &metadata, files.rootfs()]);
    assert!(split.err.contains("are one file"), "{split:?}");
    assert!(!lxd.lab.boxherd(&["image", "ls", "-q", "--engine", "lab"]).ok().contains(&image));
}

/// A configuration as `lxc` has it, for the remotes of one test.
struct Remotes(tempfile::TempDir);

impl Remotes {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.yml"), config).expect("a file");
        Self(folder)
    }

    fn boxherd(&self, lxd: &Lxd, args: &[&str]) -> Said {
        let mut boxherd = lxd.lab.command(args);
        Said::from(boxherd.env("LXD_CONF", self.0.path()).output().expect("it runs"))
    }
}

#[test]
fn images_of_another_server_are_fetched_by_the_engines() {
    let test = "images_of_another_server_are_fetched_by_the_engines";
    let Some(lxd) = Lxd::open(test) else { return };
    let Some(other) = boxherd_testkit::incus_lab_or_skip(test) else { return };
    lxd.add("lab", &[]).ok();
    let files = Files::new(&lxd.server);
    let (public, private) = (name("public"), name("private"));
    for (image, flags) in [(&public, &["--public"][..]), (&private, &[])] {
        let metadata = files.metadata(image);
        let import = ["image", "import", &metadata, files.rootfs(), "-q", "--alias", image];
        drop(other.run(None, &[&import, flags].concat()));
    }
    let at = &other.https[0];
    let remotes = Remotes::new(&format!(
        "remotes:\n  other: {{addr: 'https://{at}', protocol: incus}}\n  unpinned: {{addr: \
         'https://{at}', protocol: incus}}\n"
    ));
    let of = |args: &[&str]| remotes.boxherd(&lxd, args);
    let certificate = other.run(None, &["query", "/1.0"]);
    let server: serde_json::Value = serde_json::from_str(&certificate).expect("JSON");
    let certificate = server["environment"]["certificate"].as_str().expect("a certificate");
    let pins = remotes.0.path().join("servercerts");
    fs::create_dir(&pins).expect("a folder");
    fs::write(pins.join("other.crt"), certificate).expect("a file");

    // A public one, without anybody knowing us there.
    let (web, at) = (name("fetched"), format!("other:{public}"));
    let web = format!("lab:{web}");
    of(&["create", &web, "--image", &at]).ok();
    assert_eq!(of(&["exec", &web, "echo", "alive"]).ok(), "alive\n");
    of(&["rm", "--force", &web]).ok();

    let unseen = of(&["image", "pull", "--engine", "lab", &format!("other:{private}")]);
    assert!(unseen.code == Some(1) && unseen.err.contains("`other`"), "{unseen:?}");
    // A private one, by a secret that its server gives those whom it trusts.
    let identity = boxherd_lxd_client::Identity::generate("images-test").expect("a certificate");
    let (certificate, key) = &identity;
    fs::write(remotes.0.path().join("client.crt"), certificate).expect("a file");
    fs::write(remotes.0.path().join("client.key"), key).expect("a file");
    let trusted = files.text("client.crt");
    fs::write(&trusted, certificate).expect("a file");
    let trust = ["config", "trust", "add-certificate", &trusted, "--name", &private];
    drop(other.run(None, &trust));
    let pulled = format!("other:{private}");
    let said = of(&["image", "pull", "--engine", "lab", &pulled]).ok();
    assert!(said.contains(&pulled) && said.contains("sha256:"), "{said}");
    assert_eq!(of(&["image", "pull", "--engine", "lab", &pulled]).ok(), said, "it is there");
    // It is the server's own now, for those too who know no such remote.
    use_image(&lxd, &pulled);

    for (image, why) in [
        ("other:nonesuch", "`other` has no image `nonesuch`"),
        ("nobody:debian/12", "nobody knows a remote `nobody`"),
        ("unpinned:tiny", "not pinned"),
        ("local:tiny", "`local`"),
        ("nonesuch", "no remote is named"),
    ] {
        let refused = of(&["image", "pull", "--engine", "lab", image]);
        assert!(refused.code == Some(1) && refused.err.contains(why), "{image}: {refused:?}");
    }
    of(&["image", "rm", "--engine", "lab", &pulled]).ok();
    // The one of the box is kept by the server without a name.
    for image in lxd.lxc(&["image", "list", "-f", "csv", "-c", "Fd"]).lines() {
        if let Some((print, _)) = image.split_once(',').filter(|(_, text)| text.is_empty())
            && lxd.lxc(&["image", "info", print]).contains(&format!("mark: {public}"))
        {
            lxd.lxc(&["image", "delete", print]);
        }
    }
    let trust = other.run(None, &["config", "trust", "list", "-f", "csv", "-c", "nf"]);
    for line in trust.lines().filter(|line| line.contains(private.as_str())) {
        let print = line.rsplit(',').next().expect("a fingerprint");
        drop(other.run(None, &["config", "trust", "remove", print]));
    }
    for image in [&public, &private] {
        drop(other.run(None, &["image", "delete", image]));
    }
}

/// Serves files over HTTP, as long as this process runs.
fn serve(files: BTreeMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            for line in lines {
                if line.is_ok_and(|line| line.is_empty()) {
                    break;
                }
            }
            let (status, body) = match first.split(' ').nth(1).and_then(|path| files.get(path)) {
                Some(body) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &b""[..]),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let head_only = first.starts_with("HEAD");
            let body = if head_only { &b""[..] } else { body };
            // Whoever hangs up early had enough.
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        }
    });
    url
}

#[test]
fn images_of_a_stream_are_fetched_by_the_engines() {
    let Some(lxd) = Lxd::open("images_of_a_stream_are_fetched_by_the_engines") else { return };
    lxd.add("lab", &[]).ok();
    let files = Files::new(&lxd.server);
    let image = name("stream");
    let metadata = fs::read(files.metadata(&image)).expect("a file");
    let rootfs = fs::read(&files.rootfs).expect("a file");
    let hex = |bytes: &[u8]| {
        let digest = Sha256::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let product = format!("{image}:1:amd64:default");
    let item = |kind: &str, content: &[u8]| {
        serde_json::json!({ "ftype": kind, "path": format!("images/{kind}"),
            "sha256": hex(content), "size": content.len() })
    };
    let mut lxd_item = item("lxd.tar.xz", &metadata);
    lxd_item["combined_rootxz_sha256"] = hex(&[&metadata[..], &rootfs].concat()).into();
    let products = serde_json::json!({
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
        "products": { &product: {
            "aliases": format!("{image}/1,{image}"), "arch": "amd64", "os": "Tiny", "release": "1",
            "release_title": "1", "variant": "default",
            "versions": { "20260101_00:00": { "items": {
                "lxd.tar.xz": lxd_item, "root.tar.xz": item("root.tar.xz", &rootfs) } } } } } });
    let index = serde_json::json!({ "format": "index:1.0", "index": { "images": {
        "datatype": "image-downloads", "format": "products:1.0",
        "path": "streams/v1/images.json", "products": [product] } } });
    let url = serve(
        [
            ("/streams/v1/index.json", index.to_string().into_bytes()),
            ("/streams/v1/images.json", products.to_string().into_bytes()),
            ("/images/lxd.tar.xz", metadata),
            ("/images/root.tar.xz", rootfs),
        ]
        .map(|(path, content)| (path.to_owned(), content))
        .into(),
    );
    let entry = format!("addr: '{url}', protocol: simplestreams, public: true");
    let remotes = Remotes::new(&format!("remotes:\n  images: {{{entry}}}\n"));
    let of = |args: &[&str]| remotes.boxherd(&lxd, args);
    let pulled = format!("images:{image}/1");
    let said = of(&["image", "pull", "--engine", "lab", &pulled]).ok();
    assert!(said.contains("sha256:"), "{said}");
    use_image(&lxd, &pulled);
    let missing = of(&["create", "lab:web", "--image", "images:nonesuch/1"]);
    assert!(missing.code == Some(1) && missing.err.contains("images:nonesuch/1"), "{missing:?}");
    of(&["image", "rm", "--engine", "lab", &pulled]).ok();
}
