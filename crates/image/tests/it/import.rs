//! Importing what lies in files.

use std::fs;

use boxherd_image::{ImageError, unpack::Limits};
use boxherd_model::{ImageRef, Silent};
use boxherd_testkit::{programs_or_skip, root_or_skip};

use crate::support::images::{digest, gzip, zstd};
use crate::support::{Bench, Image, SmallDisk, Tape, chain, noise, run};

fn rootfs() -> Vec<u8> {
    Tape::new().folder("./").folder("./bin").file("./bin/sh", b"#!").symlink("./sh", "bin/sh").end()
}

#[tokio::test]
async fn a_tarball_is_one_layer_whatever_it_is_compressed_with() {
    let bench = Bench::new();
    for (name, bytes) in [("plain", rootfs()), ("gz", gzip(&rootfs())), ("zst", zstd(&rootfs()))] {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let image = bench.import(name, &path).await.unwrap();
        let found = bench.store.resolve(&image).unwrap().unwrap();
        assert_eq!(found.digest, digest(&rootfs()));
        assert_eq!(bench.read(&image, "sh").unwrap(), b"#!");
    }
    assert_eq!(bench.entries("layers").len(), 1);
    assert_eq!(bench.store.list().unwrap().len(), 3);
    bench.assert_tidy();
}

#[tokio::test]
async fn an_oci_archive_is_the_same_image_as_its_folder() {
    if !programs_or_skip("an_oci_archive_is_the_same_image", &["tar"]) {
        return;
    }
    let bench = Bench::new();
    let folder = bench.path("layout");
    let above = Tape::new().file("data", &noise(1, 50_000)).end();
    let made = Image::new().layer(rootfs()).layer(above).write(&folder, "tag");
    run("tar", &["-cf", "../plain.tar", "."], &folder);
    run("tar", &["-czf", "../packed.tgz", "oci-layout", "index.json", "blobs"], &folder);
    for path in ["layout", "plain.tar", "packed.tgz"] {
        let image = bench.import(path, &bench.path(path)).await.unwrap();
        let found = bench.store.resolve(&image).unwrap().unwrap();
        assert_eq!(found.digest, made.manifest, "{path}");
        assert_eq!(found.layers.len(), 2);
        assert_eq!(found.config.cmd, ["run", "it"]);
    }
    assert_eq!(bench.entries("layers").len(), 2);
    bench.assert_tidy();
}

#[tokio::test]
async fn an_archive_made_by_skopeo_is_taken_and_a_docker_archive_is_explained() {
    let test = "an_archive_made_by_skopeo";
    if !programs_or_skip(test, &["skopeo"]) {
        return;
    }
    let bench = Bench::new();
    Image::new().layer(rootfs()).write(&bench.path("layout"), "tag");
    let copy = |to: &str| {
        let arguments = ["--insecure-policy", "copy", "-q", "oci:layout:tag", to];
        run("skopeo", &arguments, bench.folder.path());
    };
    copy("oci-archive:oci.tar");
    let image = bench.import("app", &bench.path("oci.tar")).await.unwrap();
    assert_eq!(bench.read(&image, "bin/sh").unwrap(), b"#!");

    copy("docker-archive:docker.tar:app:1");
    let error = bench.import("other", &bench.path("docker.tar")).await.unwrap_err();
    assert!(error.to_string().contains("it is a docker archive; `skopeo copy"), "{error}");
    bench.assert_tidy();
}

#[tokio::test]
async fn a_damaged_archive_is_refused_with_both_digests() {
    let bench = Bench::new();
    let folder = bench.path("layout");
    let made =
        Image::new().layer(Tape::new().file("data", &noise(1, 90_000)).end()).write(&folder, "t");
    let blob = folder.join("blobs").join(made.blobs[0].replace(':', "/"));
    let whole = fs::read(&blob).unwrap();
    let mut flipped = whole.clone();
    flipped[40_000] ^= 1;
    for bytes in [&flipped[..], &whole[..60_000], b"not gzip at all"] {
        fs::write(&blob, bytes).unwrap();
        let error = bench.import("app", &folder).await.unwrap_err();
        let ImageError::Corrupt { expected, found, .. } = &error else {
            panic!("{}", chain(&error))
        };
        assert_eq!((expected, found), (&made.blobs[0], &digest(bytes)));
        bench.assert_tidy();
    }
    fs::remove_file(&blob).unwrap();
    let error = bench.import("app", &folder).await.unwrap_err();
    assert!(error.to_string().contains(&made.blobs[0]), "{error}");
    assert!(bench.store.list().unwrap().is_empty());
}

#[tokio::test]
async fn files_that_are_no_images_are_refused_by_name() {
    let bench = Bench::new();
    let cut = &rootfs()[..rootfs().len() - 1024];
    let packed = gzip(&Tape::new().file("data", &noise(1, 90_000)).end());
    let hostile = Tape::new().folder("a").file("a/../../x", b"").end();
    for (name, bytes, said) in [
        ("text", &b"hello, this is not a tar stream at all"[..], "it is no tar stream"),
        ("nothing", b"", "it is an empty tar stream"),
        ("xz", b"\xfd7zXZ\0and so on", "cannot read `"),
        ("cut", cut, "the stream ends without the end marker of a tar stream"),
        ("cut-gz", &packed[..50_000], "cannot read the stream"),
        ("hostile", &hostile, "entry `a/../../x` is refused: its path climbs with `..`"),
    ] {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let error = bench.import("app", &path).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains(said), "{name}: {text}");
        bench.assert_tidy();
    }
    assert!(bench.entries("layers").is_empty());
    let error = bench.import("app", &bench.path("absent")).await.unwrap_err();
    assert!(error.to_string().ends_with("absent`"), "{error}");
    let error = bench.import("host", &bench.path("text")).await.unwrap_err();
    assert!(matches!(error, ImageError::BadName { .. }), "{error}");
}

#[tokio::test]
async fn a_bomb_stops_at_the_limit() {
    let bench = Bench::new();
    let path = bench.path("bomb.gz");
    // 64 MB that take 64 KB.
    fs::write(&path, gzip(&Tape::new().file("zeros", &vec![0; 64 << 20]).end())).unwrap();
    let store = bench.store.clone().with_limits(Limits { entries: 100, bytes: 1 << 20 });
    let name: ImageRef = "app".parse().unwrap();
    let error = store.import(&name, &path, &Silent).await.unwrap_err();
    assert!(chain(&error).contains("more than 1048576 bytes of files"), "{}", chain(&error));
    bench.assert_tidy();
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_what_filled_it_is_gone() {
    let test = "a_full_disk_is_said_to_be_full";
    if !root_or_skip(test) || !programs_or_skip(test, &["mount", "umount"]) {
        return;
    }
    let disk = SmallDisk::new();
    let bench = Bench::new();
    let tar = bench.path("large.tar");
    fs::write(&tar, Tape::new().file("data", &noise(1, 4 << 20)).end()).unwrap();
    let store = boxherd_image::ImageStore::open(&disk.path().join("images")).unwrap();
    let name: ImageRef = "app".parse().unwrap();
    let error = store.import(&name, &tar, &Silent).await.unwrap_err();
    assert!(error.is_full_disk(), "{}", chain(&error));
    let within = format!("no space is left for `{}", disk.path().join("images/tmp").display());
    assert!(error.to_string().starts_with(&within), "{error}");
    assert!(fs::read_dir(disk.path().join("images/tmp")).unwrap().next().is_none());
}
