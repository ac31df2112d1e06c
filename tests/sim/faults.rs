//! Calls that fail, processes that die, other people's changes, reboots.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use agent::{
    fault::Kind,
    host::{
        Host,
        sim::{Act, Blow, Crash, Injection, Moment, Sim},
    },
};
use playbooks::Value;

use crate::{rich, sim};

const MTU: &str = "/sys/class/net/eth1/mtu";

fn set_mtu(sim: &Sim, mtu: u32) -> agent::fault::Result<()> {
    sim.write(Path::new(MTU), &mtu.to_string())
}

fn mtu(sim: &Sim) -> Value {
    sim.value("eth1", "link.mtu").unwrap()
}

#[test]
fn a_call_fails_before_or_after_it_took_effect() {
    let sim = sim(rich());
    let at = |moment| Injection { call: sim.calls(), moment, blow: Blow::Fail(libc::EBUSY) };
    sim.inject([at(Moment::Before)]);
    assert_eq!(set_mtu(&sim, 9000).unwrap_err().kind, Kind::Busy);
    assert_eq!(mtu(&sim), Value::Number(1500));
    let at = |moment| Injection { call: sim.calls(), moment, blow: Blow::Fail(libc::EIO) };
    sim.inject([at(Moment::After)]);
    assert_eq!(set_mtu(&sim, 9000).unwrap_err().kind, Kind::Io);
    assert_eq!(mtu(&sim), Value::Number(9000));
    assert_eq!(sim.disarm(), 0);
    set_mtu(&sim, 1500).unwrap();
}

#[test]
fn a_dead_process_does_nothing_more() {
    for (moment, expected) in [(Moment::Before, 1500), (Moment::After, 9000)] {
        let sim = sim(rich());
        sim.inject([Injection { call: sim.calls() + 1, moment, blow: Blow::Crash }]);
        let died = catch_unwind(AssertUnwindSafe(|| {
            // What a destructor would do while the process dies.
            struct Late<'a>(&'a Sim);
            impl Drop for Late<'_> {
                fn drop(&mut self) {
                    assert!(set_mtu(self.0, 100).is_err());
                }
            }
            let _late = Late(&sim);
            sim.read(Path::new(MTU)).unwrap();
            set_mtu(&sim, 9000).unwrap();
            unreachable!("the process is dead");
        }));
        let crash = died.unwrap_err().downcast::<Crash>().expect("died of the crash");
        assert_eq!(*crash, Crash { call: 1 });
        assert!(sim.read(Path::new(MTU)).is_err(), "dead until the next process");
        sim.restart();
        assert_eq!(sim.read(Path::new(MTU)).unwrap(), format!("{expected}\n"));
    }
}

#[test]
fn a_crash_while_waiting_is_one_too() {
    let sim = sim(rich());
    sim.inject([Injection { call: 0, moment: Moment::After, blow: Blow::Crash }]);
    assert!(catch_unwind(AssertUnwindSafe(|| sim.wait(Duration::from_secs(1)))).is_err());
}

#[test]
fn somebody_else_is_noticed_at_the_call_they_came() {
    let mut machine = rich();
    machine.script = serde_saphyr::from_str(
        "[{ call: 2, act: { set: { nic: eth1, setting: ring.rx, value: 4096 } } },
          { after-ms: 70000, act: { cable: { nic: eth1, carries: false } } }]",
    )
    .unwrap();
    let sim = sim(machine);
    assert_eq!(sim.notices().unwrap(), []);
    assert_eq!(sim.notices().unwrap(), []);
    let notices = sim.notices().unwrap();
    let ifindex = sim.machine().nic("eth1").unwrap().ifindex;
    assert_eq!((notices[0].ifindex, notices[0].families.as_slice()), (ifindex, &["ring"][..]));
    assert_eq!(sim.value("eth1", "ring.rx"), Some(Value::Number(4096)));
    sim.wait(Duration::from_secs(10));
    assert_eq!(sim.notices().unwrap()[0].families, ["link"]);
    assert_eq!(sim.read(Path::new("/sys/class/net/eth1/carrier")).unwrap(), "0\n");
    assert_eq!(sim.foreign_refusals(), Vec::<String>::new());
}

#[test]
fn nics_come_and_go_and_change_names() {
    let sim = sim(rich());
    let index = |sim: &Sim| sim.read(Path::new("/sys/class/net/eth1/ifindex"));
    let first = index(&sim).unwrap();
    sim.foreign(&Act::Rename { nic: "eth1".into(), to: "fast0".into() });
    assert_eq!(index(&sim).unwrap_err().kind, Kind::Unsupported);
    assert_eq!(sim.read(Path::new("/sys/class/net/fast0/ifindex")).unwrap(), first);
    sim.foreign(&Act::Rename { nic: "fast0".into(), to: "eth1".into() });
    set_mtu(&sim, 9000).unwrap();
    sim.foreign(&Act::Remove { nic: "eth1".into() });
    assert!(index(&sim).is_err());
    sim.foreign(&Act::Return { nic: "eth1".into() });
    assert_ne!(index(&sim).unwrap(), first, "an index is never used twice");
    assert_eq!(mtu(&sim), Value::Number(1500), "the driver was loaded anew");
    sim.foreign(&Act::Replace { nic: "eth1".into(), mac: "52:54:00:00:00:99".into() });
    let address = sim.read(Path::new("/sys/class/net/eth1/address")).unwrap();
    assert_eq!(address, "52:54:00:00:00:99\n");
    assert_eq!(sim.foreign_refusals(), Vec::<String>::new());
}

#[test]
fn a_reboot_keeps_firmware_only() {
    let sim = sim(rich());
    let booted = sim.machine();
    let boot_id = sim.now().boot_id;
    set_mtu(&sim, 9000).unwrap();
    sim.write(Path::new("/proc/sys/net/core/busy_poll"), "50").unwrap();
    let utc = sim.now().utc_ns;
    sim.reboot();
    assert_eq!(sim.machine(), booted);
    assert_ne!(sim.now().boot_id, boot_id);
    assert!(sim.now().utc_ns > utc, "UTC goes on");
    let file = sim.read(Path::new("/proc/sys/kernel/random/boot_id")).unwrap();
    assert_eq!(file.trim(), sim.now().boot_id);
}

#[test]
fn the_files_lie_as_on_a_host() {
    let sim = sim(rich());
    let list = |path: &str| sim.list(Path::new(path)).unwrap();
    assert_eq!(list("/sys/class/net"), ["bonding_masters", "eth0", "eth1", "veth0"]);
    let device = sim.target(Path::new("/sys/class/net/eth1/device")).unwrap();
    assert_eq!(device, "../../../0000:3b:00.0");
    let driver = sim.target(Path::new("/sys/class/net/eth1/device/driver")).unwrap();
    assert_eq!(driver, "../../../bus/pci/drivers/ice");
    let vendor = sim.read(Path::new("/sys/bus/pci/devices/0000:3b:00.0/vendor")).unwrap();
    assert_eq!(vendor, "0x8086\n");
    assert_eq!(list("/sys/class/net/eth1/device/net"), ["eth1"]);
    let irqs = list("/sys/class/net/eth1/device/msi_irqs");
    assert_eq!(irqs.len(), 8);
    assert_eq!(list(&format!("/proc/irq/{}", irqs[0])).last().unwrap(), "smp_affinity_list");
    assert!(sim.list(Path::new("/sys/class/net/veth0/device")).is_err());
    for hostile in ["/sys/../etc/passwd", "relative", "/sys/class/net/eth1/nothing"] {
        assert!(sim.read(Path::new(hostile)).is_err(), "{hostile}");
    }
    let denied = sim.write(Path::new("/sys/class/net/eth1/ifindex"), "7").unwrap_err();
    assert_eq!(denied.kind, Kind::Denied);
}
