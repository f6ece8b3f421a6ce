//! The documents of an OCI image: index, manifest, configuration. Pure; what they point to is
//! fetched by others.
//!
//! OCI image format 1.1 and Docker's schema 2, which differ only in media types.

use serde::Deserialize;

use crate::ImageConfig;
use crate::digest::Digest;

/// The largest configuration that is read.
pub(crate) const LARGEST_DOCUMENT: u64 = 8 << 20;

/// Points to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

/// An index or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// One image for each of several platforms.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

/// What one image is made of, lowest layer first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A layer of an image: where it is, and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
}

/// What is wrong with a document.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDocument {
    #[error("its manifest is neither an image nor an index: {0}")]
    Unknown(String),
    #[error("its manifest is of Docker's schema 1, which no registry should serve any more")]
    SchemaOne,
    #[error("its configuration cannot be read: {0}")]
    Config(String),
    #[error("its manifest has {layers} layers and its configuration {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("it has no layers")]
    NoLayers,
    #[error("it is for {found}, this machine runs {wanted}")]
    Platform { wanted: String, found: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    #[serde(default)]
    schema_version: u32,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct RawConfig {
    os: String,
    architecture: String,
    #[serde(default)]
    config: Option<RawRun>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Vec<Digest>,
}

/// Writers differ in whether an empty list is absent, null or empty.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawRun {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadDocument> {
        let raw: RawDocument = serde_json::from_slice(bytes)
            .map_err(|error| BadDocument::Unknown(error.to_string()))?;
        match raw {
            RawDocument { schema_version: 1, .. } => Err(BadDocument::SchemaOne),
            RawDocument { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            RawDocument { config: Some(config), layers: Some(layers), .. } => {
                Ok(Self::Manifest(Manifest { config, layers }))
            }
            _ => Err(BadDocument::Unknown("it has no layers".to_owned())),
        }
    }
}

impl Platform {
    /// What this machine runs.
    pub(crate) fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `other` runs here. A variant asks for more than the plain architecture
    /// has, except `v8`, which every 64-bit ARM is, and `v1`, the plain x86-64.
    fn runs(&self, other: &Self) -> bool {
        let plain = matches!(other.variant.as_deref(), None | Some("" | "v1" | "v8"));
        (&self.os, &self.architecture) == (&other.os, &other.architecture) && plain
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// The image of an index that runs on `machine`. One without a platform is taken when it is alone.
pub(crate) fn choose<'a>(
    images: &'a [Descriptor],
    machine: &Platform,
) -> Result<&'a Descriptor, BadDocument> {
    if let [only] = images
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let fits = |image: &&Descriptor| image.platform.as_ref().is_some_and(|p| machine.runs(p));
    images.iter().find(fits).ok_or_else(|| {
        let offered = images.iter().filter_map(|image| image.platform.as_ref());
        let offered: Vec<String> = offered.map(ToString::to_string).collect();
        let found = if offered.is_empty() { "no platform".to_owned() } else { offered.join(", ") };
        BadDocument::Platform { wanted: machine.to_string(), found }
    })
}

/// What a box heeds of a configuration, and the layers of the image, lowest first.
pub(crate) fn read_config(
    manifest: &Manifest,
    config: &[u8],
    machine: &Platform,
) -> Result<(ImageConfig, Vec<Layer>), BadDocument> {
    let raw: RawConfig =
        serde_json::from_slice(config).map_err(|error| BadDocument::Config(error.to_string()))?;
    let platform = Platform { os: raw.os, architecture: raw.architecture, variant: None };
    if !machine.runs(&platform) {
        let (wanted, found) = (machine.to_string(), platform.to_string());
        return Err(BadDocument::Platform { wanted, found });
    }
    let (layers, diff_ids) = (manifest.layers.len(), raw.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(BadDocument::LayerCount { layers, diff_ids });
    }
    if layers == 0 {
        return Err(BadDocument::NoLayers);
    }
    let pairs = manifest.layers.iter().cloned().zip(raw.rootfs.diff_ids);
    let layers = pairs.map(|(blob, diff_id)| Layer { blob, diff_id }).collect();
    Ok((run_config(raw.config.unwrap_or_default()), layers))
}

/// Drops every layer that comes again above: the upper one says it all once more, and overlayfs
/// takes a folder only once.
pub(crate) fn without_repeats(layers: Vec<Layer>) -> Vec<Layer> {
    let mut kept: Vec<Layer> = Vec::new();
    for layer in layers.into_iter().rev() {
        if kept.iter().all(|above| above.diff_id != layer.diff_id) {
            kept.push(layer);
        }
    }
    kept.reverse();
    kept
}

fn run_config(raw: RawRun) -> ImageConfig {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let split = |entry: String| match entry.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (entry, String::new()),
    };
    ImageConfig {
        env: raw.env.unwrap_or_default().into_iter().map(split).collect(),
        workdir: given(raw.working_dir),
        user: given(raw.user),
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    fn descriptor(name: &str, platform: Option<(&str, &str, Option<&str>)>) -> Descriptor {
        let platform = platform.map(|(os, architecture, variant)| Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        });
        Descriptor { digest: sha256(name.as_bytes()), size: 1, media_type: String::new(), platform }
    }

    fn machine() -> Platform {
        Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
    }

    #[test]
    fn an_index_gives_the_image_of_this_machine() {
        let images = [
            descriptor("arm", Some(("linux", "arm64", Some("v8")))),
            descriptor("attestation", Some(("unknown", "unknown", None))),
            descriptor("fast", Some(("linux", "amd64", Some("v3")))),
            descriptor("plain", Some(("linux", "amd64", None))),
        ];
        assert_eq!(choose(&images, &machine()).unwrap().digest, sha256(b"plain"));
        let error = choose(&images[..3], &machine()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is for linux/arm64/v8, unknown/unknown, linux/amd64/v3, \
             this machine runs linux/amd64"
        );
        let alone = [descriptor("alone", None)];
        assert_eq!(choose(&alone, &machine()).unwrap().digest, sha256(b"alone"));
    }

    #[test]
    fn a_configuration_is_read_and_its_gaps_are_empty() {
        let layers = vec![descriptor("layer", None)];
        let manifest = Manifest { config: descriptor("config", None), layers };
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{}"]}},
                "config":{{"Env":["A=b=c","LONE"],"Cmd":null,"Entrypoint":["/x"],"User":""}}}}"#,
            sha256(b"tar")
        );
        let (config, layers) = read_config(&manifest, config.as_bytes(), &machine()).unwrap();
        assert_eq!(config.env, [("A".into(), "b=c".into()), ("LONE".into(), String::new())]);
        assert_eq!((config.user, config.entrypoint), (None, vec!["/x".to_owned()]));
        assert_eq!(layers[0].diff_id, sha256(b"tar"));
    }

    #[test]
    fn a_configuration_that_contradicts_its_manifest_is_refused() {
        let manifest = Manifest { config: descriptor("config", None), layers: vec![] };
        for (config, refusal) in [
            (
                r#"{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":[]}}"#,
                "it is for linux/arm64",
            ),
            (
                r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}"#,
                "it has no layers",
            ),
            (
                r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:x"]}}"#,
                "its configuration cannot be read",
            ),
        ] {
            let error = read_config(&manifest, config.as_bytes(), &machine()).unwrap_err();
            assert!(error.to_string().starts_with(refusal), "{error}");
        }
        assert_eq!(Document::parse(br#"{"schemaVersion":1}"#), Err(BadDocument::SchemaOne));
        assert!(Document::parse(b"[]").is_err());
    }

    #[test]
    fn of_a_layer_that_comes_twice_the_upper_stays() {
        let layer =
            |name: &str| Layer { blob: descriptor(name, None), diff_id: sha256(name.as_bytes()) };
        let kept = without_repeats(vec![layer("a"), layer("b"), layer("a"), layer("c")]);
        assert_eq!(kept, [layer("b"), layer("a"), layer("c")]);
    }
}
