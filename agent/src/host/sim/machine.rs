//! A simulated machine as data: what `tests/cases/<name>/inventory.yaml` holds, and what the running
//! simulation changes. Two machines are compared with `==` to prove that one ended as it began.
//!
//! Everything has a default, so that a description says only what matters to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    around::Around, model::Traffic, param::Param, quirk::Quirk, rdma::SimRdma, script::Event,
    sockets::SimSocket,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// CPUs, all online.
    pub cpus: u32,
    /// A CPU list a NUMA node; empty: one node with all CPUs.
    pub nodes: Vec<String>,
    /// CPU lists of `isolcpus=` and `nohz_full=`.
    pub isolated: String,
    pub nohz_full: String,
    /// The network namespace's inode.
    pub netns: u64,
    /// The kernel's cookie of it; `None`: a kernel that does not tell.
    pub netns_cookie: Option<u64>,
    /// Whether the kernel has netdev-genl, and may write NAPI settings through it (6.13).
    pub netdev_genl: NetdevGenl,
    pub nics: Vec<SimNic>,
    /// The NIC that carries the default route.
    pub default_route: Option<String>,
    /// By dotted key; added to those that every kernel has (see [`super::sysctl`]).
    pub sysctls: BTreeMap<String, String>,
    /// Module -> parameter -> value; a value here can be written.
    pub modules: BTreeMap<String, BTreeMap<String, String>>,
    /// Any other file, by absolute path; readable only. One whose path ends in `/` is an empty directory.
    pub files: BTreeMap<String, String>,
    /// Any other symbolic link: `/proc/7/fd/3` -> `/dev/netmap`.
    pub links: BTreeMap<String, String>,
    /// Character devices by path, as `major:minor`.
    pub devices: BTreeMap<String, String>,
    /// Inode numbers of files, where they matter.
    pub inodes: BTreeMap<String, u64>,
    /// Paths that may not be read, nor anything below them.
    pub sealed: BTreeSet<String>,
    pub sockets: Vec<SimSocket>,
    pub rdma: Vec<SimRdma>,
    /// Tracked connections: who began each, and the end that answers.
    pub tracked: Vec<(IpAddr, IpAddr)>,
    /// Images below the kernel's firmware path, by name.
    pub placed: BTreeMap<String, String>,
    /// What somebody else does to this machine, and when.
    pub script: Vec<Event>,
    /// How packets fare here, for [`super::SimMeter`].
    pub traffic: Traffic,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            kernel: "6.18.44".to_owned(),
            cpus: 8,
            nodes: Vec::new(),
            isolated: String::new(),
            nohz_full: String::new(),
            netns: 4_026_531_840,
            netns_cookie: Some(1),
            netdev_genl: NetdevGenl::Set,
            nics: Vec::new(),
            default_route: None,
            sysctls: BTreeMap::new(),
            modules: BTreeMap::new(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            devices: BTreeMap::new(),
            inodes: BTreeMap::new(),
            sealed: BTreeSet::new(),
            sockets: Vec::new(),
            rdma: Vec::new(),
            tracked: Vec::new(),
            placed: BTreeMap::new(),
            script: Vec::new(),
            traffic: Traffic::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetdevGenl {
    /// Before 6.8: no queue and NAPI objects.
    Absent,
    /// Read only.
    Get,
    /// With `napi-set`.
    Set,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SimNic {
    pub name: String,
    pub driver: String,
    pub driver_version: String,
    /// 0: given at boot.
    pub ifindex: u32,
    /// rtnetlink's link kind (`veth`), where it is a virtual one.
    pub kind: Option<String>,
    pub pci: Option<Pci>,
    pub mac: String,
    pub firmware: String,
    pub mtu: u32,
    pub tx_queue_len: u32,
    pub up: bool,
    /// Whether the cable carries; a resetting NIC has none for a while all the same.
    pub cable: bool,
    /// Mbit/s.
    pub speed: u32,
    pub rings: BTreeMap<String, Limited>,
    pub channels: BTreeMap<String, Limited>,
    /// What is named is supported; switches are 0 and 1 or `true` and `false`.
    #[serde(deserialize_with = "numbers_or_switches")]
    pub coalesce: BTreeMap<String, u64>,
    /// A feature that is not named is fixed off.
    pub features: BTreeMap<String, Feature>,
    pub private_flags: BTreeMap<String, bool>,
    pub devlink_params: BTreeMap<String, Param>,
    pub pause: Option<Pause>,
    pub eee: Option<Eee>,
    pub rss: Option<Rss>,
    /// ntuple rules by slot; `None`: the NIC has no such table.
    pub rules: Option<BTreeMap<u32, Rule>>,
    pub napi: Napi,
    /// One a NAPI instance; filled at boot.
    pub napis: Vec<Napi>,
    /// CPU lists: one an interrupt vector, transmit queue, receive queue; filled at boot.
    pub irq: Vec<String>,
    pub xps: Vec<String>,
    pub rps: Vec<String>,
    /// How /proc/interrupts names a vector; `{}` is its number, `{nic}` the NIC's name.
    pub irq_name: String,
    /// Driver statistics by name, beside those of the traffic.
    pub stats: BTreeMap<String, u64>,
    pub quirks: Vec<Quirk>,
    /// What stands on it and dies with it.
    pub around: Around,
}

impl Default for SimNic {
    fn default() -> SimNic {
        SimNic {
            name: "eth1".to_owned(),
            driver: String::new(),
            driver_version: String::new(),
            ifindex: 0,
            kind: None,
            pci: None,
            mac: "02:00:00:00:00:01".to_owned(),
            firmware: String::new(),
            mtu: 1500,
            tx_queue_len: 1000,
            up: true,
            cable: true,
            speed: 10_000,
            rings: BTreeMap::new(),
            channels: BTreeMap::new(),
            coalesce: BTreeMap::new(),
            features: BTreeMap::new(),
            private_flags: BTreeMap::new(),
            devlink_params: BTreeMap::new(),
            pause: None,
            eee: None,
            rss: None,
            rules: None,
            napi: Napi::default(),
            napis: Vec::new(),
            irq: Vec::new(),
            xps: Vec::new(),
            rps: Vec::new(),
            irq_name: "{nic}-TxRx-{}".to_owned(),
            stats: BTreeMap::new(),
            quirks: Vec::new(),
            around: Around::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pci {
    pub address: String,
    pub vendor: u16,
    pub device: u16,
    #[serde(default)]
    pub subsystem_vendor: u16,
    #[serde(default)]
    pub subsystem_device: u16,
    /// As devlink reports it.
    #[serde(default)]
    pub serial: Option<String>,
    /// The board's, where the device has none of its own.
    #[serde(default)]
    pub board_serial: Option<String>,
    /// devlink versions: `fw.psid`, `fw.mgmt`, … ; as they run.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Those of them that a reset would run instead, where others are stored.
    #[serde(default)]
    pub stored: BTreeMap<String, String>,
    #[serde(default)]
    pub numa: u32,
}

/// A count with the driver's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limited {
    pub value: u64,
    pub max: u64,
}

/// What is wanted of a feature, and whether that can be changed. What is in force follows from the
/// features it depends on (see [`super::feature`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    On,
    Off,
    OnFixed,
    OffFixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pause {
    pub autoneg: bool,
    pub rx: bool,
    pub tx: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Eee {
    pub enabled: bool,
    #[serde(default)]
    pub active: bool,
    #[serde(default)]
    pub tx_lpi_enabled: bool,
    /// Microseconds.
    #[serde(default)]
    pub tx_lpi_timer: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rss {
    /// Slots in the indirection table.
    pub size: u32,
    /// A user's table; `None`: the kernel's own equal spread, which follows the channels.
    #[serde(default)]
    pub table: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rule {
    /// The receive queue, or `u64::MAX` to drop.
    pub queue: u64,
    /// `struct ethtool_rx_flow_spec` up to its ring_cookie, in hex; empty: UDP over IPv4 to port 4789.
    #[serde(default)]
    pub spec: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Napi {
    pub defer_hard_irqs: u32,
    /// Nanoseconds.
    pub gro_flush_timeout: u64,
    pub irq_suspend_timeout: u64,
    /// 0 disabled, 1 enabled, 2 busy-poll.
    pub threaded: u8,
}

impl SimNic {
    fn channel(&self, name: &str) -> u64 {
        self.channels.get(name).map_or(0, |c| c.value)
    }

    pub fn rx_queues(&self) -> usize {
        (self.channel("combined") + self.channel("rx")).max(1) as usize
    }

    pub fn tx_queues(&self) -> usize {
        (self.channel("combined") + self.channel("tx")).max(1) as usize
    }

    /// Interrupt vectors of the queues: none on a NIC that is no PCI function.
    pub fn vectors(&self) -> usize {
        match self.pci {
            Some(_) => {
                let each = self.channel("combined") + self.channel("rx") + self.channel("tx");
                each.max(1) as usize
            }
            None => 0,
        }
    }

    pub fn napi_count(&self) -> usize {
        self.rx_queues().max(self.tx_queues()).max(self.vectors())
    }

    /// The RSS table in force.
    pub fn table(&self) -> Option<Vec<u32>> {
        let rss = self.rss.as_ref()?;
        let queues = self.rx_queues() as u32;
        Some(rss.table.clone().unwrap_or_else(|| (0..rss.size).map(|i| i % queues).collect()))
    }

    pub fn irq_label(&self, vector: usize) -> String {
        self.irq_name.replace("{}", &vector.to_string()).replace("{nic}", &self.name)
    }

    /// Brings the per-queue lists to the queue counts: what is there stays, the rest is new.
    pub(super) fn fit_queues(&mut self, all_cpus: &str) {
        self.irq.resize(self.vectors(), all_cpus.to_owned());
        self.xps.resize(self.tx_queues(), String::new());
        self.rps.resize(self.rx_queues(), String::new());
        self.napis.resize(self.napi_count(), self.napi.clone());
    }
}

impl Machine {
    pub fn nic(&self, name: &str) -> Option<&SimNic> {
        self.nics.iter().find(|nic| nic.name == name)
    }

    pub(super) fn by_index(&self, ifindex: u32) -> Option<&SimNic> {
        self.nics.iter().find(|nic| nic.ifindex == ifindex)
    }

    pub(super) fn by_index_mut(&mut self, ifindex: u32) -> Option<&mut SimNic> {
        self.nics.iter_mut().find(|nic| nic.ifindex == ifindex)
    }

    /// `0-7`
    pub(super) fn all_cpus(&self) -> String {
        super::cpus::list(&(0..self.cpus).collect())
    }

    /// Fills in what a boot fills in: indexes, queues, the sysctls every kernel has.
    pub(super) fn booted(mut self) -> Machine {
        let all = self.all_cpus();
        for (i, nic) in self.nics.iter_mut().enumerate() {
            if nic.ifindex == 0 {
                nic.ifindex = i as u32 + 2;
            }
            nic.fit_queues(&all);
        }
        for (key, value) in super::sysctl::EVERYWHERE {
            self.sysctls.entry((*key).to_owned()).or_insert_with(|| (*value).to_owned());
        }
        self
    }
}

fn numbers_or_switches<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Plain {
        Switch(bool),
        Number(u64),
    }
    let map = BTreeMap::<String, Plain>::deserialize(d)?;
    Ok(map
        .into_iter()
        .map(|(name, plain)| match plain {
            Plain::Switch(on) => (name, u64::from(on)),
            Plain::Number(n) => (name, n),
        })
        .collect())
}
