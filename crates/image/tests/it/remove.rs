//! Removing frees what nothing uses, and nothing else.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use boxherd_image::ImageError;
use boxherd_model::ImageRef;

use crate::support::{Bench, Image, Tape, noise};

const NOBODY: fn(&str) -> bool = |_| false;

fn layer(seed: u64) -> Vec<u8> {
    Tape::new().file(&format!("file-{seed}"), &noise(seed, 10_000)).end()
}

/// Imports an image of the layers that `seeds` make.
async fn import(bench: &Bench, name: &str, seeds: &[u64]) -> ImageRef {
    let folder = bench.path(&format!("layout-{name}"));
    let image = seeds.iter().fold(Image::new(), |image, seed| image.layer(layer(*seed)));
    image.write(&folder, "tag");
    bench.import(name, &folder).await.unwrap()
}

fn layers(bench: &Bench, name: &ImageRef) -> Vec<PathBuf> {
    bench.store.resolve(name).unwrap().unwrap().layers
}

#[tokio::test]
async fn layers_go_with_the_last_image_that_has_them() {
    let bench = Bench::new();
    let one = import(&bench, "one", &[1, 2]).await;
    let two = import(&bench, "two", &[1, 3]).await;
    let kept = layers(&bench, &two);
    let freed = bench.store.remove(&one, &NOBODY).unwrap();
    assert_eq!((freed.layers, freed.bytes), (1, 12_288));
    assert!(kept.iter().all(|layer| layer.is_dir()));
    let freed = bench.store.remove(&two, &NOBODY).unwrap();
    assert_eq!(freed.layers, 2);
    for folder in ["layers", "manifests", "images", "locks", "tmp"] {
        assert_eq!(bench.entries(folder), Vec::<String>::new(), "{folder}");
    }
}

#[tokio::test]
async fn an_image_that_is_not_here_cannot_be_removed() {
    let bench = Bench::new();
    let name: ImageRef = "absent".parse().unwrap();
    let error = bench.store.remove(&name, &NOBODY).unwrap_err();
    assert!(matches!(error, ImageError::NoSuchImage { .. }));
    assert_eq!(error.to_string(), "there is no image `absent` here");
}

#[tokio::test]
async fn a_box_keeps_its_layers_after_the_name_is_gone_or_moved() {
    let bench = Bench::new();
    let name = import(&bench, "app", &[1]).await;
    let first = bench.store.resolve(&name).unwrap().unwrap();
    let digest = first.digest.clone();
    drop(first);
    // The name stands for something newer now.
    bench.store.remove(&import(&bench, "tmp", &[9]).await, &NOBODY).unwrap();
    let used = |asked: &str| asked == digest;
    fs::remove_dir_all(bench.path("layout-app")).unwrap();
    import(&bench, "app", &[2]).await;
    bench.store.sweep(&used).unwrap();
    let old = bench.store.rootfs(&digest).unwrap().unwrap();
    assert!(old.layers[0].join("file-1").is_file());
    drop(old);

    assert_eq!(bench.store.remove(&name, &used).unwrap().layers, 1);
    assert!(bench.store.resolve(&name).unwrap().is_none());
    assert!(bench.store.rootfs(&digest).unwrap().is_some());
    assert_eq!(bench.store.sweep(&NOBODY).unwrap().layers, 1);
    assert!(bench.store.rootfs(&digest).unwrap().is_none());
}

#[tokio::test]
async fn a_removal_waits_for_a_box_that_is_being_made() {
    let bench = Bench::new();
    let name = import(&bench, "app", &[1]).await;
    let rootfs = bench.store.resolve(&name).unwrap().unwrap();
    let (send, removed) = mpsc::channel();
    let store = bench.store.clone();
    let digest = rootfs.digest.clone();
    let remover = std::thread::spawn(move || {
        // The box is on record by the time this is asked.
        send.send(store.remove(&name, &|asked| asked == digest).unwrap()).unwrap();
    });
    let early = removed.recv_timeout(Duration::from_millis(200));
    assert!(early.is_err(), "layers were freed under a box that was being made");
    assert!(rootfs.layers[0].join("file-1").is_file());
    drop(rootfs.lease);
    assert_eq!(removed.recv().unwrap().layers, 0);
    remover.join().unwrap();
    assert!(rootfs.layers[0].join("file-1").is_file());
}

#[tokio::test]
async fn a_repeated_layer_is_mounted_once() {
    let bench = Bench::new();
    let name = import(&bench, "app", &[1, 2, 1]).await;
    let layers = layers(&bench, &name);
    assert_eq!(layers.len(), 2);
    assert!(layers[0].join("file-1").is_file() && layers[1].join("file-2").is_file());
}

#[tokio::test]
async fn layers_below_one_that_hides_them_all_are_not_mounted() {
    let bench = Bench::new();
    let hides = Tape::new().file(".wh..wh..opq", b"").file("only", b"").end();
    Image::new().layer(layer(1)).layer(hides).layer(layer(2)).write(&bench.path("l"), "tag");
    let name = bench.import("app", &bench.path("l")).await.unwrap();
    let layers = layers(&bench, &name);
    assert_eq!(layers.len(), 2);
    assert!(layers[0].join("file-2").is_file() && layers[1].join("only").is_file());
}

#[tokio::test]
async fn damaged_records_are_named() {
    let bench = Bench::new();
    let name = import(&bench, "app", &[1]).await;
    fs::write(bench.path("images/images/app.json"), "{").unwrap();
    let error = bench.store.resolve(&name).unwrap_err();
    assert!(error.to_string().contains("images/app.json"), "{error}");
}

#[tokio::test]
async fn half_a_blob_waits_a_day_for_the_pull_that_goes_on_with_it() {
    let bench = Bench::new();
    let day = Duration::from_secs(24 * 60 * 60);
    for (name, age) in [("a", 2 * day), ("b", day / 2)] {
        let path = bench.path("images/partial").join(format!("sha256-{}", name.repeat(64)));
        let file = fs::File::create(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    bench.store.sweep(&NOBODY).unwrap();
    assert_eq!(bench.entries("partial"), [format!("sha256-{}", "b".repeat(64))]);
}
