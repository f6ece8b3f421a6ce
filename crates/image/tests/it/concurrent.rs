//! Several pulls and imports on one folder at once.

use std::fs;

use boxherd_image::ImageStore;
use boxherd_model::{ImageRef, Silent};

use crate::support::{Bench, Image, Line, Proxy, Registry, Tape, noise};

#[tokio::test]
async fn two_stores_that_pull_one_image_fetch_each_layer_once() {
    let Some(registry) = Registry::start_or_skip("two_stores_that_pull_one_image") else { return };
    let layer = |seed| Tape::new().file("data", &noise(seed, 400_000)).end();
    let image = (0..6).fold(Image::new(), |image, seed| image.layer(layer(seed)));
    let made = registry.push(&image, "app:1");
    let proxy = Proxy::start(registry.port, Line::Good);
    let bench = Bench::new();
    let other = ImageStore::open(&bench.path("images")).unwrap();
    let name: ImageRef = proxy.name("app:1").parse().unwrap();
    let pulls = [&bench.store, &other].map(|store| store.pull(&name, &Silent));
    let pulled = futures_util::future::join_all(pulls).await;
    for info in pulled {
        assert_eq!(info.unwrap().digest, made.manifest);
    }
    for blob in &made.blobs {
        assert_eq!(proxy.requests(blob).len(), 1, "{blob}");
    }
    assert_eq!(bench.store.resolve(&name).unwrap().unwrap().layers.len(), 6);
    bench.assert_tidy();
}

#[tokio::test]
async fn one_tarball_imported_twice_at_once_is_one_layer_with_two_names() {
    let bench = Bench::new();
    let tar = bench.path("rootfs.tar");
    fs::write(&tar, Tape::new().file("data", &noise(1, 3_000_000)).end()).unwrap();
    let (one, two) = tokio::join!(bench.import("one", &tar), bench.import("two", &tar));
    let layers = |name: &ImageRef| bench.store.resolve(name).unwrap().unwrap().layers;
    assert_eq!(layers(&one.unwrap()), layers(&two.unwrap()));
    assert_eq!(bench.entries("layers").len(), 1);
    bench.assert_tidy();
}

#[tokio::test]
async fn images_that_share_layers_in_a_circle_do_not_wait_for_each_other() {
    let layer = |seed| Tape::new().file("data", &noise(seed, 20_000)).end();
    for round in 0..8 {
        let bench = Bench::new();
        let mut imports = Vec::new();
        for turn in 0..3 {
            let mut order = [round, round + 100, round + 200];
            order.rotate_left(turn);
            let image = order.iter().fold(Image::new(), |image, seed| image.layer(layer(*seed)));
            let (name, folder) = (format!("app{turn}"), bench.path(&format!("l{turn}")));
            image.write(&folder, "tag");
            imports.push((name, folder));
        }
        let all = imports.iter().map(|(name, folder)| bench.import(name, folder));
        for imported in futures_util::future::join_all(all).await {
            let rootfs = bench.store.resolve(&imported.unwrap()).unwrap().unwrap();
            assert_eq!(rootfs.layers.len(), 3);
        }
        assert_eq!(bench.entries("layers").len(), 3);
        bench.assert_tidy();
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_stops_and_leaves_what_the_next_one_uses() {
    let Some(registry) = Registry::start_or_skip("a_pull_that_is_given_up") else { return };
    let made = registry
        .push(&Image::new().layer(Tape::new().file("data", &noise(2, 900_000)).end()), "app:1");
    let proxy = Proxy::start(registry.port, Line::SilentAfter(500_000));
    let bench = Bench::new();
    let name: ImageRef = proxy.name("app:1").parse().unwrap();
    {
        let mut pull = Box::pin(bench.store.pull(&name, &Silent));
        while proxy.passed() < 500_000 {
            let turn = std::time::Duration::from_millis(10);
            assert!(tokio::time::timeout(turn, &mut pull).await.is_err(), "it cannot end");
        }
    }
    proxy.set(Line::Good);
    bench.store.pull(&name, &Silent).await.unwrap();
    assert_eq!(proxy.requests(&made.blobs[0]).len(), 2);
    bench.assert_tidy();
}
