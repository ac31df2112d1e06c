//! The demo's link: a veth pair, one end handed to the other host's namespace.

use std::net::Ipv4Addr;

use rtnetlink::{Error, Handle, LinkUnspec, LinkVeth};

use crate::runs::{Declined, Exit};

const PREFIX: u8 = 24;
const LOOPBACK: u32 = 1;

/// Makes the pair, moves the peer's end to the namespace of process `pid`, dresses our end.
pub(super) fn join(name: &str, peer: &str, pid: u32, address: [u8; 4]) -> Result<(), Declined> {
    on_runtime("make the demo's link", async |handle| {
        handle.link().add(LinkVeth::new(name, peer).build()).execute().await?;
        let away = LinkUnspec::new_with_index(index_of(peer)?).setns_by_pid(pid).build();
        handle.link().set(away).execute().await?;
        up(&handle, name, address).await
    })
}

/// Gives the end that has arrived here its address, and brings it up.
pub(super) fn dress(name: &str, address: [u8; 4]) -> Result<(), Declined> {
    on_runtime("bring up the demo's link", async |handle| up(&handle, name, address).await)
}

async fn up(handle: &Handle, name: &str, address: [u8; 4]) -> Result<(), Error> {
    let index = index_of(name)?;
    handle.address().add(index, Ipv4Addr::from(address).into(), PREFIX).execute().await?;
    for index in [LOOPBACK, index] {
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    }
    Ok(())
}

fn index_of(name: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(name).map_err(|_| Error::RequestFailed)
}

/// rtnetlink wants a runtime; one thread, so that the socket is opened in this thread's namespace.
fn on_runtime(
    act: &str,
    work: impl AsyncFnOnce(Handle) -> Result<(), Error>,
) -> Result<(), Declined> {
    let failed = |cause: String| Declined::new(Exit::Failed, "demo", format!("{act}: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(e.to_string()))?;
    runtime
        .block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().map_err(|_| Error::RequestFailed)?;
            tokio::spawn(connection);
            work(handle).await
        })
        .map_err(|e| failed(e.to_string()))
}
