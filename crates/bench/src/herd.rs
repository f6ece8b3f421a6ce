//! The herd as what is measured.

use async_trait::async_trait;
use boxherd_herd::{Fork, Herd};
use boxherd_link::Link;
use boxherd_model::{Address, BoxName, BoxSpec, ByteSize, Capability, Timings};

use crate::Front;

/// The limit of a box's disk, where the engine holds one.
const DISK: ByteSize = ByteSize::from_mib(10 << 10);

fn address(name: &BoxName) -> Address {
    Address::of(name.clone())
}

#[async_trait]
impl Front for Herd {
    async fn create(&self, name: &BoxName) -> anyhow::Result<Timings> {
        let mut spec = BoxSpec::new(name.clone());
        // Nobody runs strangers' boxes without it, so what it costs belongs to every figure.
        if Herd::engine(self, None)?.capabilities().has(Capability::DiskLimit) {
            spec.limits.disk = Some(DISK);
        }
        Ok(self.create(spec.into()).await?.timings)
    }

    async fn link(&self, name: &BoxName) -> anyhow::Result<Link> {
        Ok(self.link(&address(name)).await?)
    }

    async fn suspend(&self, name: &BoxName) -> anyhow::Result<()> {
        self.suspend(&address(name)).await?;
        Ok(())
    }

    async fn resume(&self, name: &BoxName) -> anyhow::Result<()> {
        self.resume(&address(name)).await?;
        Ok(())
    }

    async fn fork(&self, source: &BoxName, copies: &[BoxName]) -> anyhow::Result<Timings> {
        let fork = Fork { names: copies.to_vec(), live: false };
        let made = self.fork(&address(source), fork).await?;
        Ok(made.into_iter().next().map(|status| status.timings).unwrap_or_default())
    }

    async fn names(&self) -> anyhow::Result<Vec<BoxName>> {
        let boxes = self.list().await?.boxes;
        Ok(boxes.into_iter().map(|status| status.spec.name).collect())
    }

    async fn delete(&self, name: &BoxName) -> anyhow::Result<()> {
        Ok(self.delete(&address(name)).await?)
    }
}
