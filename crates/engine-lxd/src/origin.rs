//! Where an image comes from: the server itself, or a remote from which the server fetches it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boxherd_engine::EngineError;
use boxherd_lxd_client::{
    Client, Config, Endpoint, Error, Flavour, ImageInfo, ImageRemote, Locations, Remote, Source,
};
use boxherd_model::ImageRef;

use crate::error::{failed, with_causes};
use crate::server::Known;

/// The shortest beginning of a fingerprint that is taken for one.
const SHORTEST_FINGERPRINT: usize = 12;
/// The project that every server has.
const DEFAULT_PROJECT: &str = "default";

/// Where an image is.
#[derive(Debug)]
pub(crate) enum Origin {
    /// On the server.
    Here(Source),
    /// Elsewhere; the size in bytes where it is known.
    Elsewhere(Source, Option<u64>),
}

impl Origin {
    pub(crate) fn into_source(self) -> Source {
        match self {
            Self::Here(source) | Self::Elsewhere(source, _) => source,
        }
    }
}

/// `REMOTE:ALIAS`; `None` for what names no remote.
pub(crate) fn split(image: &ImageRef) -> Option<(&str, &str)> {
    let (remote, alias) = image.as_str().split_once(':')?;
    (!remote.contains(['/', '@'])).then_some((remote, alias))
}

/// An image of the server that is asked.
pub(crate) fn local(image: &ImageRef) -> Source {
    let text = image.as_str();
    if is_fingerprint(text) { Source::fingerprint(text) } else { Source::alias(text) }
}

fn is_fingerprint(text: &str) -> bool {
    text.len() >= SHORTEST_FINGERPRINT && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// An image of a simplestreams server.
fn of_streams(url: &str, alias: &str) -> Source {
    Source::remote(url, "simplestreams", alias)
}

/// An image of another server: only that server knows by which secret a private one is opened.
fn of_server(
    remote: &Remote,
    flavour: Flavour,
    info: &ImageInfo,
    secret: Option<String>,
) -> Result<Source, String> {
    let [address @ Endpoint::Https { .. }] = &remote.endpoints[..] else {
        return Err("it is reached over a unix socket, over which no other server is".to_owned());
    };
    let protocol = match flavour {
        Flavour::Lxd => "lxd",
        Flavour::Incus => "incus",
    };
    let certificate = remote.server_certificate.as_ref();
    let project = (remote.project != DEFAULT_PROJECT).then(|| remote.project.clone());
    Ok(Source {
        alias: None,
        fingerprint: Some(info.fingerprint.clone()),
        certificate: certificate.map(|certificate| pem(certificate)),
        secret,
        project,
        ..Source::remote(&address.to_string(), protocol, "")
    })
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

impl Known {
    /// Where an image is. What names no remote, or is an alias of the server although it looks as if
    /// it did, is there.
    pub(crate) async fn origin(&self, image: &ImageRef) -> Result<Origin, EngineError> {
        let Some((name, alias)) = split(image) else { return Ok(Origin::Here(local(image))) };
        if self.has_alias(image).await? {
            return Ok(Origin::Here(Source::alias(image.as_str())));
        }
        let Some(locations) = self.settings.remotes.clone() else {
            return Err(no_remote(image, name, &[]));
        };
        let config = read(locations).await?;
        match config.image_remote(name) {
            Ok(ImageRemote::Streams { url }) => {
                Ok(Origin::Elsewhere(of_streams(&url, alias), None))
            }
            Ok(ImageRemote::Server(remote)) => self.of_remote(image, name, alias, &remote).await,
            Err(Error::NotFound { .. }) => Err(no_remote(image, name, &config.image_remotes())),
            Err(error) => Err(refused(image, error.to_string(), None)),
        }
    }

    /// Whether the server has an image of that name.
    pub(crate) async fn has_alias(&self, image: &ImageRef) -> Result<bool, EngineError> {
        match self.client.alias(image.as_str()).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look the image up")(error)),
        }
    }

    async fn of_remote(
        &self,
        image: &ImageRef,
        name: &str,
        alias: &str,
        remote: &Remote,
    ) -> Result<Origin, EngineError> {
        let asked = async {
            let other = Client::new(remote)?;
            let fingerprint = match other.alias(alias).await {
                Ok(found) => found.target,
                Err(Error::NotFound { .. }) if is_fingerprint(alias) => alias.to_owned(),
                Err(error) => return Err(error),
            };
            let info = other.image(&fingerprint).await?;
            let secret = match info.public {
                true => None,
                false => Some(other.image_secret(&info.fingerprint).await?),
            };
            Ok((info, secret))
        };
        let (info, secret) = asked.await.map_err(|error| match error {
            Error::NotFound { .. } => {
                let hint = format!("`lxc image list {name}:` says which there are");
                refused(image, format!("`{name}` has no image `{alias}`"), Some(hint))
            }
            error => refused(image, format!("`{name}`: {}", with_causes(&error)), None),
        })?;
        let source = of_server(remote, self.flavour().await?, &info, secret);
        let source = source.map_err(|why| refused(image, format!("`{name}`: {why}"), None))?;
        Ok(Origin::Elsewhere(source, u64::try_from(info.size).ok()))
    }

    /// What the server calls what others of its kind speak.
    async fn flavour(&self) -> Result<Flavour, EngineError> {
        Ok(match self.server().await?.environment.server.as_str() {
            "incus" => Flavour::Incus,
            _ => Flavour::Lxd,
        })
    }
}

async fn read(locations: Locations) -> Result<Config, EngineError> {
    let read = tokio::task::spawn_blocking(move || Config::load(&locations)).await;
    let step = "read which remotes there are";
    read.map_err(|error| EngineError::refused(step, error))?.map_err(failed(step))
}

fn no_remote(image: &ImageRef, name: &str, known: &[String]) -> EngineError {
    let reason = format!("the server has no such alias, and nobody knows a remote `{name}`");
    let hint = match known {
        [] => "name an image of the server's".to_owned(),
        known => format!("there are {}; `lxc remote add` adds one", known.join(", ")),
    };
    refused(image, reason, Some(hint))
}

pub(crate) fn refused(image: &ImageRef, reason: String, hint: Option<String>) -> EngineError {
    EngineError::Image { image: image.to_string(), reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    #[test]
    fn a_remote_stands_before_the_first_colon() {
        for (text, found) in [
            ("images:debian/12", Some(("images", "debian/12"))),
            ("ubuntu:24.04", Some(("ubuntu", "24.04"))),
            ("lab:team/app:2", Some(("lab", "team/app:2"))),
            ("debian/12", None),
            ("team/app:2", None),
            ("deb12", None),
        ] {
            assert_eq!(split(&image(text)), found, "{text}");
        }
    }

    #[test]
    fn images_of_the_server_are_aliases_or_fingerprints() {
        assert_eq!(local(&image("deb12")).alias.as_deref(), Some("deb12"));
        let print = "0123456789abcdef";
        assert_eq!(local(&image(print)).fingerprint.as_deref(), Some(print));
        assert_eq!(local(&image("abcdef")).alias.as_deref(), Some("abcdef"), "too short for one");
    }

    #[test]
    fn a_stream_is_asked_for_its_alias() {
        let source = of_streams("https://images.example", "debian/12");
        let wire = serde_json::to_value(&source).unwrap();
        assert_eq!(
            wire,
            serde_json::json!({ "type": "image", "mode": "pull", "protocol": "simplestreams",
                "server": "https://images.example", "alias": "debian/12" })
        );
    }

    #[test]
    fn another_server_is_trusted_by_its_certificate_and_opened_by_a_secret() {
        let remote = Remote {
            endpoints: vec![Endpoint::parse("https://lab.example").unwrap()],
            server_certificate: Some(vec![7; 100].into()),
            project: "team".to_owned(),
            ..Remote::unix("/")
        };
        let info = ImageInfo { fingerprint: "ab12".to_owned(), ..ImageInfo::default() };
        let of = |flavour, secret| of_server(&remote, flavour, &info, secret).unwrap();
        let wire = serde_json::to_value(of(Flavour::Lxd, Some("opens".to_owned()))).unwrap();
        assert_eq!(
            (&wire["server"], &wire["fingerprint"], &wire["secret"], &wire["project"]),
            (&"https://lab.example:8443".into(), &"ab12".into(), &"opens".into(), &"team".into())
        );
        assert_eq!((&wire["protocol"], &wire["mode"]), (&"lxd".into(), &"pull".into()));
        assert!(wire["alias"].is_null(), "the fingerprint is what was looked at");
        let certificate = wire["certificate"].as_str().unwrap();
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----\nBwcH"), "{certificate}");
        assert!(certificate.lines().all(|line| line.len() <= 64));
        let public = of(Flavour::Incus, None);
        assert_eq!((public.protocol.as_deref(), public.secret), (Some("incus"), None));
        let local = Remote { project: "default".to_owned(), ..Remote::unix("/run/socket") };
        let why = of_server(&local, Flavour::Lxd, &info, None).unwrap_err();
        assert!(why.contains("unix socket"), "{why}");
    }
}
