//! `segtypes`

use ulvm::error::Result;

use crate::args::Args;
use crate::context::Context;

/// In the order LVM2 lists them.
pub const SEGTYPES: [&str; 35] = [
    "linear",
    "striped",
    "zero",
    "error",
    "snapshot",
    "mirror",
    "raid0",
    "raid0_meta",
    "raid1",
    "raid10",
    "raid10_near",
    "raid4",
    "raid5",
    "raid5_n",
    "raid5_la",
    "raid5_ls",
    "raid5_ra",
    "raid5_rs",
    "raid6",
    "raid6_n_6",
    "raid6_nc",
    "raid6_nr",
    "raid6_zr",
    "raid6_ls_6",
    "raid6_rs_6",
    "raid6_la_6",
    "raid6_ra_6",
    "thin-pool",
    "thin",
    "cache-pool",
    "cache",
    "vdo",
    "vdo-pool",
    "writecache",
    "integrity",
];

/// Lists the segment types that metadata may contain.
pub fn run(ctx: &Context, _: &Args) -> Result<()> {
    for name in SEGTYPES {
        ctx.terminal().line(name);
    }
    Ok(())
}
