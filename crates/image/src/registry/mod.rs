//! Talking to one registry: documents and blobs of one image, by digest.
//!
//! `oci-client` does the protocol and the tokens; resuming, retries and digests are done here.

mod blob;
mod credentials;
mod retry;
mod tls;

use std::path::Path;
use std::time::Duration;

use boxherd_model::ImageRef;
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;

use crate::ImageError;
use crate::digest::{Digest, sha256};
use crate::oci::{Descriptor, LARGEST_DOCUMENT};

const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of a body.
const SILENCE: Duration = Duration::from_secs(30);

const DOCUMENTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// One image in its registry.
pub(crate) struct Registry {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
    image: ImageRef,
}

impl Registry {
    /// Connects to nothing yet. Plain HTTP is spoken with registries on this machine and with no
    /// other.
    pub(crate) fn new(image: &ImageRef, credentials: Option<&Path>) -> Result<Self, ImageError> {
        let reference: Reference = image.as_str().parse().map_err(|error| {
            let reason = format!("{error}");
            ImageError::BadName { image: image.clone(), verb: "pulled", reason }
        })?;
        let host = reference.resolve_registry();
        let auth = credentials::find(credentials, host)?;
        let protocol = if is_loopback(host) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("boxherd/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // Fails when the program has chosen a provider already, which is as good.
        if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let client = Client::try_from(config).map_err(|error| ImageError::Registry {
            action: "set up a connection for the registry".to_owned(),
            image: image.clone(),
            source: error.into(),
        })?;
        Ok(Self { client, auth, reference, image: image.clone() })
    }

    /// The index or manifest that the reference names, and its digest.
    pub(crate) async fn root_document(&self) -> Result<(Vec<u8>, Digest), ImageError> {
        let (bytes, digest) = self.document(&self.reference).await?;
        match self.reference.digest() {
            Some(pinned) if pinned != digest.as_str() => Err(ImageError::Corrupt {
                image: self.image.clone(),
                what: "its manifest".to_owned(),
                expected: pinned.to_owned(),
                found: digest.to_string(),
            }),
            _ => Ok((bytes, digest)),
        }
    }

    /// A manifest that an index names.
    pub(crate) async fn manifest(&self, wanted: &Digest) -> Result<Vec<u8>, ImageError> {
        let reference = self.reference.clone_with_digest(wanted.to_string());
        let (bytes, found) = self.document(&reference).await?;
        if found == *wanted { Ok(bytes) } else { Err(self.corrupt("manifest", wanted, &found)) }
    }

    async fn document(&self, reference: &Reference) -> Result<(Vec<u8>, Digest), ImageError> {
        let fetch = || self.client.pull_manifest_raw(reference, &self.auth, &DOCUMENTS);
        let fetched = retry::retry(fetch).await;
        let (bytes, _) = fetched.map_err(|error| self.error("fetch the manifest", error))?;
        // The digest a registry states is not believed.
        let digest = sha256(&bytes);
        Ok((bytes.to_vec(), digest))
    }

    /// A configuration: a small blob that is kept in memory.
    pub(crate) async fn config(&self, blob: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if blob.size > LARGEST_DOCUMENT {
            let reason = format!("its configuration has {} bytes", blob.size);
            return Err(ImageError::bad_image(&self.image, &reason));
        }
        let bytes = retry::retry(|| self.small_blob(blob)).await;
        let bytes = bytes.map_err(|error| self.error("fetch the configuration", error))?;
        let found = sha256(&bytes);
        if found == blob.digest {
            Ok(bytes)
        } else {
            Err(self.corrupt("configuration", &blob.digest, &found))
        }
    }

    async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, OciDistributionError> {
        use futures_util::TryStreamExt as _;
        let mut stream = self.blob_from(blob, 0).await?.1;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
            // One byte too many is enough to know that the digest cannot match.
            if bytes.len() as u64 > blob.size {
                break;
            }
        }
        Ok(bytes)
    }

    /// The blob from byte `offset` on, or from the beginning when the registry cannot do that.
    async fn blob_from(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<blob::From, OciDistributionError> {
        let digest = blob.digest.as_str();
        let answer =
            self.client.pull_blob_stream_partial(&self.reference, digest, offset, None).await?;
        Ok(match answer {
            BlobResponse::Full(sized) => (0, sized.stream),
            BlobResponse::Partial(sized) => (offset, sized.stream),
        })
    }

    fn corrupt(&self, what: &str, expected: &Digest, found: &Digest) -> ImageError {
        ImageError::Corrupt {
            image: self.image.clone(),
            what: format!("{what} `{}`", expected.short()),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Sorts what the registry said by what the caller can do about it.
    fn error(&self, action: &str, error: OciDistributionError) -> ImageError {
        use OciDistributionError as E;
        let image = self.image.clone();
        let missing = |reason: String| ImageError::NotInRegistry { image: image.clone(), reason };
        match error {
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => {
                ImageError::Unauthorized { image }
            }
            E::ImageManifestNotFoundError(_) => missing("no such manifest".to_owned()),
            E::RegistryError { envelope, .. } => {
                let said: Vec<_> = envelope.errors.into_iter().map(|error| error.message).collect();
                missing(said.join("; "))
            }
            E::ServerError { code: 404, .. } => missing("not found".to_owned()),
            E::DigestError(oci_client::errors::DigestError::VerificationError {
                expected,
                actual,
            }) => ImageError::Corrupt {
                image,
                what: "its manifest".to_owned(),
                expected,
                found: actual,
            },
            other => match tls::fault(&other) {
                Some(tls::Fault::Untrusted) => {
                    ImageError::Untrusted { image, source: Box::new(other) }
                }
                Some(tls::Fault::Plain) => ImageError::NoTls { image },
                None => {
                    let source = Box::new(other);
                    ImageError::Registry { action: action.to_owned(), image, source }
                }
            },
        }
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (registry, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("registry.example", false),
            ("localhost.example:5000", false),
            ("10.0.0.1:5000", false),
            ("127.0.0.1.example", false),
        ] {
            assert_eq!(is_loopback(registry), plain, "{registry}");
        }
    }
}
