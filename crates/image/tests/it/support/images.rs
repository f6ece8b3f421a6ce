//! OCI images, made byte by byte.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// An image of some layers, lowest first, each compressed with gzip.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    /// `diff_ids` that are told instead of the true ones.
    pub(crate) lie: Option<String>,
    pub(crate) architecture: Option<&'static str>,
    pub(crate) zstd: bool,
}

/// What an image became in a layout.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) manifest: String,
    /// Digests of the compressed layers, lowest first.
    pub(crate) blobs: Vec<String>,
}

impl Image {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Writes an OCI layout into `folder`, with this image under `tag`.
    pub(crate) fn write(&self, folder: &Path, tag: &str) -> Made {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let (manifest, blobs) = self.write_blobs(folder);
        let digest = digest(&manifest);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{
                "mediaType":"application/vnd.oci.image.manifest.v1+json",
                "digest":"{digest}","size":{},
                "annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}]}}"#,
            manifest.len()
        );
        fs::write(folder.join("index.json"), index).unwrap();
        Made { manifest: digest, blobs }
    }

    /// Writes an OCI layout into `folder` in which `tag` is an index of this image for each of
    /// `platforms`, of which only the image's own is true. Gives the image's manifest.
    pub(crate) fn write_index(&self, folder: &Path, tag: &str, others: &[(&str, &Self)]) -> String {
        let true_one = (self.architecture.unwrap_or("amd64"), self);
        let mut entries = Vec::new();
        let mut manifests = Vec::new();
        for (architecture, image) in others.iter().copied().chain([true_one]) {
            image.write(folder, "part");
            let (manifest, _) = image.write_blobs(folder);
            entries.push(format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}",
                    "size":{},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
                digest(&manifest),
                manifest.len()
            ));
            manifests.push(digest(&manifest));
        }
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
                "manifests":[{}]}}"#,
            entries.join(",")
        );
        let index_digest = write_blob(folder, index.as_bytes());
        let top = format!(
            r#"{{"schemaVersion":2,"manifests":[{{
                "mediaType":"application/vnd.oci.image.index.v1+json",
                "digest":"{index_digest}","size":{},
                "annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}}}]}}"#,
            index.len()
        );
        fs::write(folder.join("index.json"), top).unwrap();
        manifests.pop().unwrap()
    }

    fn write_blobs(&self, folder: &Path) -> (Vec<u8>, Vec<String>) {
        let compress = if self.zstd { zstd } else { gzip };
        let kind = if self.zstd { "zstd" } else { "gzip" };
        let packed: Vec<Vec<u8>> = self.layers.iter().map(|tar| compress(tar)).collect();
        let blobs: Vec<String> = packed.iter().map(|blob| write_blob(folder, blob)).collect();
        let diff_ids: Vec<String> =
            self.layers.iter().map(|tar| self.lie.clone().unwrap_or_else(|| digest(tar))).collect();
        let config = format!(
            r#"{{"os":"linux","architecture":"{}","rootfs":{{"type":"layers","diff_ids":{}}},
                "config":{{"Env":["PATH=/bin","GREETING=a=b"],"WorkingDir":"/work",
                "User":"app","Cmd":["run","it"]}}}}"#,
            self.architecture.unwrap_or("amd64"),
            serde_json::to_string(&diff_ids).unwrap(),
        );
        let config_digest = write_blob(folder, config.as_bytes());
        let layers: Vec<String> = packed
            .iter()
            .zip(&blobs)
            .map(|(blob, digest)| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+{kind}",
                        "digest":"{digest}","size":{}}}"#,
                    blob.len()
                )
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json",
                "digest":"{config_digest}","size":{}}},"layers":[{}]}}"#,
            config.len(),
            layers.join(",")
        );
        write_blob(folder, manifest.as_bytes());
        (manifest.into_bytes(), blobs)
    }
}

/// `length` bytes that do not compress, the same for the same `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn write_blob(folder: &Path, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    fs::write(folder.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
    digest
}
