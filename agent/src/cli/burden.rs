//! The process of a campaign's burden: started by `campaign`, of no use to anybody else.

use super::Done;
use crate::{
    host::linux::burden::child::{self, Work},
    runs::Exit,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The process it ends with.
    #[arg(long, value_name = "PID")]
    pub parent: i32,
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum What {
    /// Touch memory at a control group's limit
    Memory { bytes: usize },
    /// Use a CPU
    Cpu,
}

pub(super) fn run(args: &Args) -> Done {
    let work = match args.what {
        What::Memory { bytes } => Work::Memory { bytes },
        What::Cpu => Work::Cpu,
    };
    child::run(args.parent, &work)?;
    Ok(Exit::Done)
}
