//! Pulling from a registry, over good and bad lines.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxherd_image::{ImageError, ImageStore};
use boxherd_model::{ImageRef, Silent};
use boxherd_testkit::programs_or_skip;

use crate::support::images::digest;
use crate::support::{Bench, Image, Line, Proxy, Registry, SmallDisk, Tape, chain, noise};

const SIZE: usize = 1_500_000;

/// `user:password` is `ann:secret`, in bcrypt, the only form that the registry takes.
const USERS: &str = "ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

fn base() -> Vec<u8> {
    Tape::new().folder("bin").file("bin/sh", b"#!").file("old", b"").folder("etc").end()
}

fn large(seed: u64) -> Vec<u8> {
    Tape::new().file("data", &noise(seed, SIZE)).end()
}

/// Offsets from which `blob` was asked for.
fn offsets(proxy: &Proxy, blob: &str) -> Vec<u64> {
    let offset = |request: &String| {
        let (_, range) = request.split_once("range: bytes=").expect("a request with a range");
        range.split('-').next().unwrap().parse().unwrap()
    };
    proxy.requests(blob).iter().map(offset).collect()
}

#[tokio::test]
async fn an_image_is_what_was_pushed() {
    let Some(registry) = Registry::start_or_skip("an_image_is_what_was_pushed") else { return };
    let top = Tape::new().file(".wh.old", b"").hard_link("x", "y").cut();
    let top = Tape::new().file("y", b"why").raw(&top).end();
    let made = registry.push(&Image::new().layer(base()).layer(top), "team/app:1");
    let bench = Bench::new();
    let name = bench.pull(&registry.name("team/app:1")).await.unwrap();

    let rootfs = bench.store.resolve(&name).unwrap().unwrap();
    assert_eq!(rootfs.digest, made.manifest);
    assert_eq!(rootfs.layers.len(), 2);
    assert!(rootfs.layers[0].join("y").is_file() && rootfs.layers[1].join("bin/sh").is_file());
    assert_eq!(rootfs.config.env[1], ("GREETING".to_owned(), "a=b".to_owned()));
    assert_eq!(rootfs.config.workdir.as_deref(), Some("/work"));
    assert_eq!(rootfs.config.user.as_deref(), Some("app"));
    assert_eq!(rootfs.config.cmd, ["run", "it"]);

    let listed = bench.store.list().unwrap();
    assert_eq!((listed.len(), &listed[0].name, &listed[0].digest), (1, &name, &made.manifest));
    assert!(listed[0].size > 0);
    bench.assert_tidy();
}

#[tokio::test]
async fn a_layer_that_two_images_share_is_fetched_once() {
    let Some(registry) = Registry::start_or_skip("a_layer_is_fetched_once") else { return };
    let one = registry.push(&Image::new().layer(base()).layer(large(1)), "one:1");
    registry.push(&Image::new().layer(base()).layer(large(2)), "two:1");
    let proxy = Proxy::start(registry.port, Line::Good);
    let bench = Bench::new();
    bench.pull(&proxy.name("one:1")).await.unwrap();
    bench.pull(&proxy.name("two:1")).await.unwrap();
    bench.pull(&proxy.name("two:1")).await.unwrap();
    assert_eq!(proxy.requests(&one.blobs[0]).len(), 1);
    assert_eq!(bench.entries("layers").len(), 3);
}

#[tokio::test]
async fn a_line_that_is_cut_again_and_again_costs_nothing_twice() {
    let Some(registry) = Registry::start_or_skip("a_line_that_is_cut") else { return };
    let made = registry.push(&Image::new().layer(large(3)), "app:1");
    let proxy = Proxy::start(registry.port, Line::CutEvery(400_000));
    let bench = Bench::new();
    let name = bench.pull(&proxy.name("app:1")).await.unwrap();
    assert!(bench.read(&name, "data").unwrap() == noise(3, SIZE));
    let offsets = offsets(&proxy, &made.blobs[0]);
    assert!(offsets.len() >= 4 && offsets.is_sorted() && offsets[1] > 0, "{offsets:?}");
    assert!(proxy.passed() < SIZE + SIZE / 10, "{} bytes came through", proxy.passed());
    bench.assert_tidy();
}

#[tokio::test]
async fn a_pull_that_failed_goes_on_in_the_next_process() {
    let Some(registry) = Registry::start_or_skip("a_pull_that_failed_goes_on") else { return };
    let made = registry.push(&Image::new().layer(large(4)), "app:1");
    let proxy = Proxy::start(registry.port, Line::DeadAfter(500_000));
    let bench = Bench::new();
    let error = bench.pull(&proxy.name("app:1")).await.unwrap_err();
    assert!(matches!(error, ImageError::Registry { .. }), "{}", chain(&error));
    assert!(error.hint().unwrap().contains("goes on from there"));
    let kept = fs::read_dir(bench.path("images/partial")).unwrap().next().unwrap().unwrap();
    let kept = kept.metadata().unwrap().len();
    assert!(kept > 100_000, "{kept} bytes were kept");

    proxy.set(Line::Good);
    let before = offsets(&proxy, &made.blobs[0]).len();
    let again = ImageStore::open(&bench.path("images")).unwrap();
    let name: ImageRef = proxy.name("app:1").parse().unwrap();
    again.pull(&name, &Silent).await.unwrap();
    assert_eq!(offsets(&proxy, &made.blobs[0])[before..], [kept]);
    assert!(bench.read(&name, "data").unwrap() == noise(4, SIZE));
    bench.assert_tidy();
}

#[tokio::test]
async fn a_damaged_beginning_is_thrown_away_and_fetched_anew() {
    let Some(registry) = Registry::start_or_skip("a_damaged_beginning") else { return };
    let made = registry.push(&Image::new().layer(large(5)), "app:1");
    let bench = Bench::new();
    let partial = bench.path("images/partial").join(made.blobs[0].replace(':', "-"));
    fs::write(&partial, noise(99, 70_000)).unwrap();
    let name = bench.pull(&registry.name("app:1")).await.unwrap();
    assert!(bench.read(&name, "data").unwrap() == noise(5, SIZE));
    bench.assert_tidy();
}

/// What the test below kills.
#[tokio::test]
#[ignore = "a helper of `a_killed_pull_leaves_nothing_that_the_next_one_does_not_use`"]
async fn helper_that_pulls() {
    let variable = |name: &str| std::env::var(name).expect("set by the test");
    let store = ImageStore::open(variable("BOXHERD_TEST_STORE").as_ref()).unwrap();
    let image: ImageRef = variable("BOXHERD_TEST_IMAGE").parse().unwrap();
    store.pull(&image, &Silent).await.unwrap();
}

#[tokio::test]
async fn a_killed_pull_leaves_nothing_that_the_next_one_does_not_use() {
    let Some(registry) = Registry::start_or_skip("a_killed_pull") else { return };
    let made = registry.push(&Image::new().layer(base()).layer(large(6)), "app:1");
    let proxy = Proxy::start(registry.port, Line::SilentAfter(600_000));
    let bench = Bench::new();
    let name = proxy.name("app:1");
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "pull::helper_that_pulls"])
        .env("BOXHERD_TEST_STORE", bench.path("images"))
        .env("BOXHERD_TEST_IMAGE", &name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = bench.path("images/partial").join(made.blobs[1].replace(':', "-"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::metadata(&partial).map_or(0, |found| found.len()) < 300_000 {
        assert!(Instant::now() < deadline, "the helper does not get on");
        std::thread::sleep(Duration::from_millis(5));
    }
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert!(bench.store.list().unwrap().is_empty());

    proxy.set(Line::Good);
    let pulled = bench.pull(&name).await.unwrap();
    assert!(bench.read(&pulled, "data").unwrap() == noise(6, SIZE));
    let offsets = offsets(&proxy, &made.blobs[1]);
    assert!(offsets.len() == 2 && offsets[1] >= 300_000, "{offsets:?}");
    bench.assert_tidy();
}

#[tokio::test]
async fn a_damaged_layer_is_refused_with_both_digests() {
    let Some(registry) = Registry::start_or_skip("a_damaged_layer_is_refused") else { return };
    let made = registry.push(&Image::new().layer(large(7)), "app:1");
    let path = registry.blob(&made.blobs[0]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[700_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let bench = Bench::new();
    let error = bench.pull(&registry.name("app:1")).await.unwrap_err();
    let ImageError::Corrupt { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((expected, found), (&made.blobs[0], &digest(&bytes)));
    assert!(error.to_string().contains("is damaged: layer `"), "{error}");
    bench.assert_tidy();
    assert!(bench.entries("layers").is_empty() && bench.store.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_truncated_layer_is_refused_with_both_digests() {
    let Some(registry) = Registry::start_or_skip("a_truncated_layer_is_refused") else { return };
    let made = registry.push(&Image::new().layer(large(8)), "app:1");
    let path = registry.blob(&made.blobs[0]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..800_000]).unwrap();
    let bench = Bench::new();
    let error = bench.pull(&registry.name("app:1")).await.unwrap_err();
    let ImageError::Corrupt { expected, found, .. } = &error else { panic!("{}", chain(&error)) };
    assert_eq!((expected, found), (&made.blobs[0], &digest(&bytes[..800_000])));
    bench.assert_tidy();
}

#[tokio::test]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    let Some(registry) = Registry::start_or_skip("a_layer_that_unpacks_to_something_else") else {
        return;
    };
    let lie = Some(digest(b"something else"));
    registry.push(&Image { lie: lie.clone(), ..Image::new().layer(base()) }, "app:1");
    let bench = Bench::new();
    let error = bench.pull(&registry.name("app:1")).await.unwrap_err();
    let ImageError::Corrupt { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((Some(expected), found), (lie.as_ref(), &digest(&base())));
    bench.assert_tidy();
}

#[tokio::test]
async fn a_hostile_layer_is_refused_by_the_name_of_its_entry() {
    let Some(registry) = Registry::start_or_skip("a_hostile_layer_is_refused") else { return };
    let hostile = Tape::new().folder("etc").file("../../../../tmp/boxherd-escaped", b"x").end();
    registry.push(&Image::new().layer(hostile), "app:1");
    let bench = Bench::new();
    let error = bench.pull(&registry.name("app:1")).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("entry `../../../../tmp/boxherd-escaped` is refused"), "{text}");
    assert!(!fs::exists("/tmp/boxherd-escaped").unwrap());
    bench.assert_tidy();
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let Some(registry) = Registry::start_or_skip("what_is_not_there") else { return };
    registry.push(&Image::new().layer(base()), "app:1");
    let bench = Bench::new();
    for name in ["app:2", "other:1"] {
        let name = registry.name(name);
        let error = bench.pull(&name).await.unwrap_err();
        assert!(matches!(error, ImageError::NotInRegistry { .. }), "{}", chain(&error));
        assert!(error.to_string().starts_with(&format!("`{name}` is not in its registry")));
        assert!(error.hint().unwrap().contains("check name and tag"));
    }
    let here: ImageRef = registry.name("app:1").parse().unwrap();
    assert!(bench.store.resolve(&here).unwrap().is_none());
    let dead = Proxy::start(registry.port, Line::DeadAfter(0));
    let error = bench.pull(&dead.name("app:1")).await.unwrap_err();
    assert!(matches!(error, ImageError::Registry { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn names_that_name_no_registry_are_refused() {
    let bench = Bench::new();
    for (name, reason) in [
        ("host", "`host` cannot be pulled: it is this machine itself and always there"),
        ("app", "`app` cannot be pulled: it names no registry; write `HOST[:PORT]/NAME[:TAG]`"),
    ] {
        assert_eq!(bench.pull(name).await.unwrap_err().to_string(), reason);
    }
    let error = bench.pull("127.0.0.1:1/UPPER").await.unwrap_err();
    assert!(matches!(error, ImageError::BadName { .. }), "{error}");
}

#[tokio::test]
async fn a_pinned_digest_gives_that_image_whatever_the_tag_says_now() {
    let Some(registry) = Registry::start_or_skip("a_pinned_digest") else { return };
    let first = registry.push(&Image::new().layer(base()), "app:1");
    let second = registry.push(&Image::new().layer(base()).layer(large(9)), "app:1");
    let bench = Bench::new();
    let pinned = registry.name(&format!("app@{}", first.manifest));
    let name = bench.pull(&pinned).await.unwrap();
    assert_eq!(bench.store.resolve(&name).unwrap().unwrap().digest, first.manifest);
    let name = bench.pull(&registry.name("app:1")).await.unwrap();
    assert_eq!(bench.store.resolve(&name).unwrap().unwrap().digest, second.manifest);

    let absent = registry.name(&format!("app@{}", digest(b"no such image")));
    let error = bench.pull(&absent).await.unwrap_err();
    assert!(matches!(error, ImageError::NotInRegistry { .. }), "{}", chain(&error));
    // A registry that answers with another manifest than it was asked for.
    fs::copy(registry.blob(&second.manifest), registry.blob(&first.manifest)).unwrap();
    let error = bench.pull(&pinned).await.unwrap_err();
    assert!(matches!(error, ImageError::Corrupt { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused() {
    let Some(registry) = Registry::start_or_skip("an_image_for_another_machine") else { return };
    let image = Image { architecture: Some("s390x"), ..Image::new().layer(base()) };
    registry.push(&image, "app:1");
    let error = Bench::new().pull(&registry.name("app:1")).await.unwrap_err();
    assert!(
        error.to_string().contains("it is for linux/s390x, this machine runs linux/"),
        "{error}"
    );
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine_is_taken() {
    let Some(registry) = Registry::start_or_skip("of_an_index") else { return };
    let other = Image { architecture: Some("s390x"), ..Image::new().layer(large(11)) };
    let folder = tempfile::tempdir().unwrap();
    let manifest =
        Image::new().layer(base()).write_index(folder.path(), "tag", &[("s390x", &other)]);
    registry.push_layout(folder.path(), "app:1");
    let bench = Bench::new();
    let name = bench.pull(&registry.name("app:1")).await.unwrap();
    assert_eq!(bench.store.resolve(&name).unwrap().unwrap().digest, manifest);
    assert_eq!(bench.entries("layers").len(), 1);

    let imported = bench.import("app", folder.path()).await.unwrap();
    assert_eq!(bench.store.resolve(&imported).unwrap().unwrap().digest, manifest);
}

#[tokio::test]
async fn a_disk_that_fills_up_during_a_pull_is_not_left_full() {
    let test = "a_disk_that_fills_up_during_a_pull";
    if !boxherd_testkit::root_or_skip(test) || !programs_or_skip(test, &["mount", "umount"]) {
        return;
    }
    let Some(registry) = Registry::start_or_skip(test) else { return };
    // The first does not fit packed, the second not unpacked.
    registry.push(&Image::new().layer(Tape::new().file("data", &noise(12, 4 << 20)).end()), "a:1");
    let rows: Vec<u8> = noise(13, 40_000).repeat(200);
    registry.push(
        &Image { zstd: true, ..Image::new().layer(Tape::new().file("rows", &rows).end()) },
        "b:1",
    );
    for image in ["a:1", "b:1"] {
        let disk = SmallDisk::new();
        let store = ImageStore::open(&disk.path().join("images")).unwrap();
        let image: ImageRef = registry.name(image).parse().unwrap();
        let error = store.pull(&image, &Silent).await.unwrap_err();
        assert!(error.is_full_disk(), "{}", chain(&error));
        for folder in ["images/partial", "images/tmp", "images/layers"] {
            assert!(fs::read_dir(disk.path().join(folder)).unwrap().next().is_none(), "{folder}");
        }
    }
}

#[tokio::test]
async fn layers_in_zstd_are_unpacked() {
    let Some(registry) = Registry::start_or_skip("layers_in_zstd") else { return };
    registry.push(&Image { zstd: true, ..Image::new().layer(large(10)) }, "app:1");
    let bench = Bench::new();
    let name = bench.pull(&registry.name("app:1")).await.unwrap();
    assert!(bench.read(&name, "data").unwrap() == noise(10, SIZE));
}

#[tokio::test]
async fn a_locked_registry_wants_the_password_of_the_login_file() {
    let Some(registry) = Registry::start_locked_or_skip("a_locked_registry", USERS) else { return };
    let bench = Bench::new();
    let error = bench.pull(&registry.name("app:1")).await.unwrap_err();
    assert!(matches!(error, ImageError::Unauthorized { .. }), "{}", chain(&error));
    assert!(error.hint().unwrap().contains("docker login"));

    let logins = bench.path("logins.json");
    let auth = r#"{"auths":{"127.0.0.1:PORT":{"auth":"YW5uOnNlY3JldA=="}}}"#;
    fs::write(&logins, auth.replace("PORT", &registry.port.to_string())).unwrap();
    let store = bench.store.clone().with_credentials(&logins);
    let image: ImageRef = registry.name("app:1").parse().unwrap();
    // Let in, and told that there is nothing.
    let error = store.pull(&image, &Silent).await.unwrap_err();
    assert!(matches!(error, ImageError::NotInRegistry { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn an_image_made_by_umoci_hides_what_it_removed() {
    let test = "an_image_made_by_umoci";
    if !boxherd_testkit::root_or_skip(test) || !programs_or_skip(test, &["umoci"]) {
        return;
    }
    let Some(registry) = Registry::start_or_skip(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "umoci init --layout l && umoci new --image l:t \
        && umoci unpack --image l:t b && echo 1 > b/rootfs/one && mkdir b/rootfs/d \
        && echo 2 > b/rootfs/d/two && ln b/rootfs/one b/rootfs/same \
        && umoci repack --image l:t b && rm -r b && umoci unpack --image l:t b \
        && rm b/rootfs/one && rm -r b/rootfs/d && echo 3 > b/rootfs/three \
        && umoci repack --image l:t b \
        && skopeo --insecure-policy copy -q --dest-tls-verify=false oci:l:t docker://$TARGET";
    let ran = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder.path())
        .env("TARGET", registry.name("made:1"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let bench = Bench::new();
    let name = bench.pull(&registry.name("made:1")).await.unwrap();
    let rootfs = bench.store.resolve(&name).unwrap().unwrap();
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let top = |path: &str| fs::symlink_metadata(rootfs.layers[0].join(path)).unwrap();
    assert!(top("one").file_type().is_char_device() && top("one").rdev() == 0);
    assert!(top("d").file_type().is_char_device() && top("three").is_file());
    assert_eq!(fs::metadata(rootfs.layers[1].join("same")).unwrap().nlink(), 2);
}
