//! Why a network could not be had.

use std::io;
use std::path::PathBuf;

use boxherd_model::{BoxId, EgressRule, NetworkName};

/// Why a call of this room failed: a variant per thing a caller can do something about.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// This process may not configure networks.
    #[error("this process lacks CAP_NET_ADMIN, so it can make no network")]
    NotPermitted,
    /// The program that loads a network's rules is not there.
    #[error("`nft` is not installed")]
    NoNft,
    /// The kernel refused a socket or a device that networks are made of.
    #[error("this kernel has no {feature}")]
    NoKernelSupport {
        /// What is missing, such as `nf_tables`.
        feature: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A lease was asked for a box whose spec wants loopback only.
    #[error("the spec asks for no network")]
    NotOnANetwork,
    /// Every address of the network is leased.
    #[error("network `{network}` has no address left")]
    Full {
        /// Which network.
        network: NetworkName,
    },
    /// Every subnet that could be used overlaps with a route of the host, or there are too many
    /// networks.
    #[error("no private subnet is free for network `{network}`")]
    NoSubnet {
        /// Which network.
        network: NetworkName,
    },
    /// The subnet that boxes already hold leases in has become a route of the host.
    #[error("network `{network}` uses {subnet}, which the host now routes elsewhere")]
    SubnetTaken {
        /// Which network.
        network: NetworkName,
        /// Its subnet.
        subnet: crate::Subnet,
    },
    /// Networks carry IPv4 only.
    #[error("`{rule}` cannot be allowed: the networks of boxes carry IPv4 only")]
    Ipv6Rule {
        /// The rule of the spec.
        rule: EgressRule,
    },
    /// The rule allows only what no box may ever reach.
    #[error(
        "`{rule}` cannot be allowed: no box reaches loopback, link-local or multicast addresses"
    )]
    NeverRule {
        /// The rule of the spec.
        rule: EgressRule,
    },
    /// There is no lease of that box.
    #[error("box {0} has no lease")]
    NoLease(BoxId),
    /// `nft` refused the rules.
    #[error("`nft` refused the rules of network `{network}`: {said}")]
    Rules {
        /// Which network.
        network: NetworkName,
        /// What `nft` wrote.
        said: String,
    },
    /// The kernel refused a step.
    #[error("{step} failed")]
    Kernel {
        /// The step, such as `make port bh1a2b3000-0020`.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the data folder could not be read or written.
    #[error("cannot {op} `{}`", path.display())]
    File {
        /// What was tried, such as `write`.
        op: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the data folder has other contents than this version writes.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl NetError {
    /// What to do, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotPermitted => {
                Some("run as root; without it boxes have loopback only and `boxherd port` works")
            }
            Self::NoNft => Some("install the package `nftables`"),
            Self::NoKernelSupport { .. } => {
                Some("load the modules `veth`, `bridge` and `nf_tables`, or use a kernel with them")
            }
            Self::Full { .. } => Some("use another network, or delete boxes"),
            Self::NoSubnet { .. } => Some("free a /20 in 10.64.0.0/10 of the host's routes"),
            Self::SubnetTaken { .. } => {
                Some("remove the host's route, or delete the boxes of that network")
            }
            Self::Rules { .. } => {
                Some("the kernel needs `nft_fib_inet`, `nft_masq`, `nft_ct` and `nft_reject_inet`")
            }
            Self::Ipv6Rule { .. } => Some("list IPv4 addresses or names"),
            _ => None,
        }
    }

    pub(crate) fn kernel(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Kernel { step, source }
    }

    pub(crate) fn file(
        op: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { op, path, source }
    }
}
