//! Building Debian with mmdebstrap.

use boxherd_image::ImageError;
use boxherd_testkit::{programs_or_skip, root_or_skip, skip};

use boxherd_model::Silent;

use crate::support::{Bench, chain};

/// Set to build a whole Debian, which fetches packages for about a minute.
const SLOW: &str = "BOXHERD_TEST_SLOW";

#[tokio::test]
async fn debian_is_built_from_the_mirrors_of_the_host() {
    let test = "debian_is_built_from_the_mirrors_of_the_host";
    if !root_or_skip(test) || !programs_or_skip(test, &["mmdebstrap", "apt-get"]) {
        return;
    }
    if std::env::var_os(SLOW).is_none() {
        return skip(test, "takes a minute and fetches packages; set BOXHERD_TEST_SLOW=1");
    }
    let bench = Bench::new();
    let built = bench.pull("debian:bookworm").await;
    let image = built.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let release = bench.read(&image, "etc/debian_version").unwrap();
    assert!(release.starts_with(b"12."), "{}", release.escape_ascii());
    assert!(bench.read(&image, "usr/bin/apt-get").is_some());
    bench.assert_tidy();
}

#[tokio::test]
async fn a_codename_that_is_none_is_refused() {
    let store = Bench::new().store;
    for codename in ["--help", "", "a/b", "bookworm:x y"] {
        let error = store.build_debian(codename, &Silent).await.unwrap_err();
        assert!(matches!(error, ImageError::BadName { .. }), "{codename}: {error}");
    }
}
