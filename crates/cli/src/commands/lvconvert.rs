//! lvconvert
//!
//! A conversion is one operation on the metadata. What it needs on disk before anybody may know of
//! it (new metadata LVs cleared, new logs written) is done first, on free extents; then one commit.

use ulvm::error::{Error, Result};
use ulvm::host;
use ulvm::inventory::{DeviceKind, VgRead};
use ulvm::lv_wipe::clear_parts;
use ulvm::lv_wipe::is_whole;
use ulvm::mirror_marks::{forget_log, good_images, sync};
use ulvm::session::{Allow, RandomIds, Session};
use ulvm_metadata::model::{AllocPolicy, Area, Creation, LvKey, PvKey, Vg};
use ulvm_metadata::ops::lv_tree::{full_name, is_visible};
use ulvm_metadata::ops::mirror::{
    Growth, MIRROR_LEGS_MAX, RAID1_LEGS_MAX, Replaced, Sync, mirror_grow, mirror_log, mirror_of,
    mirror_shrink, mirror_split, mirror_to_raid1, raid1_grow, raid1_merge, raid1_of, raid1_replace,
    raid1_shrink, raid1_split, raid1_track,
};
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::vg_missing::{Repair, repair_partial};

use super::lv_activation::live;
use super::lv_args::{alloc_config, lv_path, pv_args, usage};
use super::lv_mirror_args::{self as mirrors, Kind};
use super::vg_args::done;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

const COMMAND: &str = "lvconvert";

/// Options of conversions that are not there yet.
const OTHER: &[Opt] = &[
    Opt::Cache,
    Opt::Cachedevice,
    Opt::Cachepool,
    Opt::Cachevol,
    Opt::Mergesnapshot,
    Opt::Mergethin,
    Opt::PoolMetadata,
    Opt::Raidintegrity,
    Opt::Snapshot,
    Opt::Splitcache,
    Opt::Splitsnapshot,
    Opt::StripeSize,
    Opt::Stripes,
    Opt::Swapmetadata,
    Opt::Thin,
    Opt::Thinpool,
    Opt::Uncache,
    Opt::Vdopool,
];

/// Changes how a logical volume is mirrored.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if let Some(opt) = OTHER.iter().find(|opt| args.has(**opt)) {
        let long = opt.spec().long;
        let text = format!("--{long}: this conversion is not supported yet.");
        return Err(Error::refused(text));
    }
    let [lv, pvs @ ..] = args.operands() else {
        return Err(wrong_syntax(COMMAND));
    };
    let what = asked(args)?;
    let (vg, lv) = lv_path(ctx, COMMAND, lv)?;
    let config = alloc_config(ctx);
    let mut session = ctx.session()?;
    let allow = Allow {
        missing: true,
        ..Allow::default()
    };
    let read = session.vg_for_write(&vg, allow)?;
    let key = read.vg.find_lv(&lv).ok_or_else(|| {
        let text = format!("Failed to find logical volume \"{vg}/{lv}\"");
        Error::not_found(text)
    })?;
    let hidden = !is_visible(&read.vg, key) && !matches!(what, What::Merge);
    if hidden {
        let text = format!("Operation not permitted on hidden LV {vg}/{lv}.");
        return Err(Error::refused(text));
    }
    let named = pv_args(&session, &read, pvs)?;
    let growth = Growth {
        pvs: (!named.is_empty()).then_some(named.as_slice()),
        alloc: args.text(Opt::Alloc).and_then(AllocPolicy::from_word),
        region: mirrors::region(ctx, args)?,
        creation: Creation {
            time: host::now(),
            host: host::name(),
        },
        config: &config,
    };
    let lv = one_of_raid1(&read.vg, key, &what);
    check_active(
        ctx,
        &session,
        &read,
        lv,
        needs_active(&read.vg, lv, &what, args),
    )?;
    let job = Job {
        args,
        sync: sync(&session, &read, lv)?,
        read,
        key,
        growth,
        named: &named,
    };
    job.run(&mut session, what)?;
    session.leave();
    Ok(())
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Split(u32),
    Track(u32),
    Merge,
    Repair,
    Replace,
    Shape,
}

fn asked(args: &Args) -> Result<What> {
    if let Some(count) = args.number(Opt::Splitmirrors) {
        let count = u32::try_from(count).map_err(|_| wrong_syntax(COMMAND))?;
        return match (args.has(Opt::Trackchanges), args.has(Opt::Name)) {
            (true, false) => Ok(What::Track(count)),
            (false, true) => Ok(What::Split(count)),
            _ => Err(wrong_syntax(COMMAND)),
        };
    }
    if args.has(Opt::Merge) || args.has(Opt::Mergemirrors) {
        return Ok(What::Merge);
    }
    if args.has(Opt::Repair) {
        return Ok(What::Repair);
    }
    if args.has(Opt::Replace) {
        return Ok(What::Replace);
    }
    let shape = [Opt::Mirrors, Opt::Mirrorlog, Opt::Corelog, Opt::Type];
    if shape.iter().any(|opt| args.has(*opt)) {
        return Ok(What::Shape);
    }
    Err(wrong_syntax(COMMAND))
}

/// The LV that is changed: for a merge the raid1 LV that the image belongs to.
fn one_of_raid1(vg: &Vg, key: LvKey, what: &What) -> LvKey {
    if *what != What::Merge {
        return key;
    }
    let has = |lv: &LvKey| ulvm_metadata::ops::mirror::image_number(vg, *lv, key).is_some();
    vg.lvs.keys().find(has).unwrap_or(key)
}

/// Does LVM2 do this to active LVs only? Whatever makes or changes a raid1 LV.
fn needs_active(vg: &Vg, lv: LvKey, what: &What, args: &Args) -> bool {
    if raid1_of(vg, lv).is_some() {
        return true;
    }
    let to_raid1 = match args.text(Opt::Type) {
        Some(word) => word == "raid1",
        None => args.has(Opt::Mirrors) && mirror_of(vg, lv).is_none(),
    };
    *what == What::Shape && to_raid1
}

/// LVs on plain files alone are converted while they are not active: whoever assembles them next
/// copies what the new images lack. Others must be active, as with LVM2.
fn check_active(
    ctx: &Context,
    session: &Session,
    read: &VgRead,
    lv: LvKey,
    needed: bool,
) -> Result<()> {
    let name = full_name(&read.vg, lv);
    if live(ctx, false)?.find(&read.vg, lv).is_some() {
        return Err(Error::refused(format!(
            "{name} is active; ulvm converts logical volumes that are not."
        )));
    }
    let inventory = session.inventory();
    let mut devices = read.vg.pvs.keys().filter_map(|pv| read.pv(pv).device());
    let files = devices.all(|d| inventory.device(d).kind == DeviceKind::File);
    if needed && !files {
        return Err(Error::refused(format!(
            "{name} must be active to perform this operation."
        )));
    }
    Ok(())
}

/// One conversion.
struct Job<'a> {
    args: &'a Args,
    read: VgRead,
    key: LvKey,
    sync: Sync,
    growth: Growth<'a>,
    named: &'a [PvArg],
}

impl Job<'_> {
    fn run(self, session: &mut Session, what: What) -> Result<()> {
        match what {
            What::Split(count) => self.split(session, count),
            What::Track(count) => self.track(session, count),
            What::Merge => self.merge(session),
            What::Repair => self.repair(session),
            What::Replace => self.replace(session),
            What::Shape => self.shape(session),
        }
    }

    fn vg(&self) -> &Vg {
        &self.read.vg
    }

    fn name(&self) -> String {
        full_name(self.vg(), self.key)
    }

    /// PVs named on the command line; `None` = none were.
    fn pvs(&self) -> Option<Vec<PvKey>> {
        let all = self.named.iter().map(|arg| arg.pv);
        (!self.named.is_empty()).then(|| all.collect())
    }

    fn confirm(&self, session: &Session, question: &str) -> Result<()> {
        if self.args.has(Opt::Yes) || session.ui().ask(question) {
            return Ok(());
        }
        let text = format!("Logical volume {} NOT converted.", self.name());
        Err(Error::refused(text))
    }

    /// Refuses a change after which no copy would be left that surely holds the data, or which makes
    /// a volume of one that does not.
    fn keeps_data(&self, session: &Session, new: &Vg, split: Option<LvKey>) -> Result<()> {
        let old = self.vg();
        let unsure = |what: &str| {
            Err(Error::refused(format!(
                "Unable to convert {}: {what} in sync. Nothing is changed.",
                self.name()
            )))
        };
        if let Some(mirror) = mirror_of(old, self.key) {
            let areas = mirror.legs.iter();
            let legs = areas.filter_map(|leg| match leg {
                Area::Lv { lv, .. } => Some(*lv),
                Area::Pv { .. } => None,
            });
            return match legs.chain(mirror.log).all(|lv| is_whole(&self.read, lv)) {
                true => Ok(()),
                false => unsure("a copy is missing; use --repair to get it"),
            };
        }
        let good = good_images(session, &self.read, self.key)?;
        let left = |image: &LvKey| match raid1_of(new, self.key) {
            Some(raid) => raid
                .images
                .iter()
                .any(|i| matches!(i.image, Area::Lv { lv, .. } if lv == *image)),
            // The one that was left has become the volume.
            None => new.lvs[self.key].segments == old.lvs[*image].segments,
        };
        if !good.iter().any(left) {
            return unsure("no copy that would be left is known to be");
        }
        match split {
            Some(image) if !good.contains(&image) => unsure("the copy is not known to be"),
            _ => Ok(()),
        }
    }

    /// Makes new metadata and logs ready, then commits.
    fn commit(&self, session: &mut Session, vg: Vg) -> Result<()> {
        session.check_fits(&self.read, &vg)?;
        clear_parts(session, &self.read, &vg, self.key)?;
        session.commit(&self.read, vg).map(drop)
    }

    fn shape(&self, session: &mut Session) -> Result<()> {
        let vg = self.vg();
        let word = self.args.text(Opt::Type);
        let (have, is) = match (raid1_of(vg, self.key), mirror_of(vg, self.key)) {
            (Some(raid), _) => (raid.images.len(), Some(Kind::Raid1)),
            (None, Some(mirror)) => (mirror.legs.len(), Some(Kind::Mirror)),
            (None, None) => (1, None),
        };
        let have = u32::try_from(have).unwrap_or(u32::MAX);
        let wanted = self.wanted_count(have)?;
        match (is, word) {
            (_, Some("linear")) => self.to_count(session, is, (have, 1)),
            (Some(Kind::Mirror), Some("raid1")) => self.mirror_to_raid1(session, have, wanted),
            (Some(Kind::Raid1), Some("raid1") | None) => {
                self.to_count(session, is, (have, wanted.unwrap_or(have)))
            }
            (Some(Kind::Mirror), Some("mirror") | None) => self.mirror_shape(session, have, wanted),
            (None, Some("raid1")) => {
                self.to_count(session, Some(Kind::Raid1), (1, wanted.unwrap_or(2)))
            }
            (None, Some("mirror")) => {
                self.to_count(session, Some(Kind::Mirror), (1, wanted.unwrap_or(2)))
            }
            (None, None) => {
                let log = self.args.has(Opt::Mirrorlog) || self.args.has(Opt::Corelog);
                let default = session.config().str("global/mirror_segtype_default");
                let kind = match log || default == "mirror" {
                    true => Kind::Mirror,
                    false => Kind::Raid1,
                };
                self.to_count(session, Some(kind), (1, wanted.unwrap_or(1)))
            }
            (_, Some(other)) => Err(Error::refused(format!(
                "Unable to convert LV {} to {other}: this conversion is not supported yet.",
                self.name()
            ))),
        }
    }

    /// Number of copies that `-m` asks for.
    fn wanted_count(&self, have: u32) -> Result<Option<u32>> {
        let Some(text) = self.args.text(Opt::Mirrors) else {
            return Ok(None);
        };
        let bad = || super::lv_args::invalid(Opt::Mirrors, text, None);
        let number: u32 = text
            .trim_start_matches(['+', '-'])
            .parse()
            .map_err(|_| bad())?;
        let count = match text.as_bytes().first() {
            Some(b'+') => have.checked_add(number),
            Some(b'-') => have.checked_sub(number).filter(|n| *n > 0),
            _ => number.checked_add(1),
        };
        count.map(Some).ok_or_else(|| {
            let text = "Unable to reduce images by specified amount.";
            Error::refused(text)
        })
    }

    fn to_count(
        &self,
        session: &mut Session,
        kind: Option<Kind>,
        (have, want): (u32, u32),
    ) -> Result<()> {
        let (most, word) = match kind {
            Some(Kind::Raid1) => (RAID1_LEGS_MAX, "raid1"),
            Some(Kind::Mirror) => (MIRROR_LEGS_MAX, "mirror"),
            None => {
                let text = format!("Logical volume {} is already linear.", self.name());
                return Err(Error::refused(text));
            }
        };
        if want > most {
            let text = format!("Only up to {most} mirrors in {word} supported currently.");
            return Err(usage(COMMAND, text));
        }
        match kind {
            Some(Kind::Mirror) => self.mirror_count(session, have, want),
            _ => self.raid1_count(session, have, want),
        }
    }

    fn raid1_count(&self, session: &mut Session, have: u32, want: u32) -> Result<()> {
        let name = self.name();
        if have == want {
            let text = format!("{name} already has image count of {want}.");
            session.ui().warn(text);
        } else if want > have {
            let from = if have == 1 { "linear" } else { "raid1" };
            let to = if have == 1 { "raid1 with " } else { "" };
            self.confirm(
                session,
                &format!(
                    "Are you sure you want to convert {from} LV {name} to {to}{want} images enhancing resilience?"
                ),
            )?;
            let grown = raid1_grow(
                self.vg(),
                self.key,
                want,
                self.sync,
                &self.growth,
                &mut RandomIds,
            );
            let mut grown = done(session, grown)?;
            self.mark(&mut grown.vg, &grown.value, have > 1);
            self.commit(session, grown.vg)?;
        } else {
            let losing = match want {
                1 => "type linear losing all".to_owned(),
                n => format!("{n} images reducing"),
            };
            self.confirm(
                session,
                &format!(
                    "Are you sure you want to convert raid1 LV {name} to {losing} resilience?"
                ),
            )?;
            let pvs = self.pvs();
            let shrunk = raid1_shrink(self.vg(), self.key, want, pvs.as_deref(), self.sync);
            let shrunk = done(session, shrunk)?;
            self.keeps_data(session, &shrunk.vg, None)?;
            self.commit(session, shrunk.vg)?;
        }
        let text = format!("Logical volume {name} successfully converted.");
        session.ui().print(text);
        Ok(())
    }

    /// New images of a set that has been assembled before are to be filled by whoever assembles it
    /// next. One that has not is filled as a whole, from its first image.
    fn mark(&self, vg: &mut Vg, images: &[LvKey], was_raid1: bool) {
        if was_raid1 && self.sync != Sync::Unknown {
            for image in images {
                vg.lvs[*image].status.rebuild = true;
            }
        }
    }

    fn mirror_count(&self, session: &mut Session, have: u32, want: u32) -> Result<()> {
        let name = self.name();
        if want > have {
            let disk = mirrors::disk_log(self.args)?.unwrap_or(true);
            let grown = mirror_grow(
                self.vg(),
                self.key,
                (want, disk),
                self.sync,
                &self.growth,
                &mut RandomIds,
            );
            let grown = done(session, grown)?;
            if let Some(log) = grown.value {
                forget_log(session, &self.read, log)?;
            }
            self.commit(session, grown.vg)?;
            let text = format!("Logical volume {name} being converted.");
            session.ui().print(text);
            session.ui().print("Conversion starts after activation.");
        } else if want < have {
            let pvs = self.pvs();
            let shrunk = mirror_shrink(self.vg(), self.key, want, pvs.as_deref(), self.sync);
            let shrunk = done(session, shrunk)?;
            self.keeps_data(session, &shrunk.vg, None)?;
            self.commit(session, shrunk.vg)?;
            let text = format!("Logical volume {name} converted.");
            session.ui().print(text);
        }
        Ok(())
    }

    fn mirror_shape(&self, session: &mut Session, have: u32, wanted: Option<u32>) -> Result<()> {
        if let Some(want) = wanted.filter(|want| *want != have) {
            return self.to_count(session, Some(Kind::Mirror), (have, want));
        }
        if let Some(disk) = mirrors::disk_log(self.args)? {
            let outcome = mirror_log(self.vg(), self.key, disk, &self.growth, &mut RandomIds);
            let changed = done(session, outcome)?;
            self.commit(session, changed.vg)?;
            let text = format!("Logical volume {} converted.", self.name());
            session.ui().print(text);
        }
        Ok(())
    }

    fn mirror_to_raid1(&self, session: &mut Session, have: u32, wanted: Option<u32>) -> Result<()> {
        if wanted.is_some_and(|want| want != have) {
            return Err(Error::refused(format!(
                "Convert {} to raid1 first, then change its number of images.",
                self.name()
            )));
        }
        let name = self.name();
        self.confirm(
            session,
            &format!("Are you sure you want to convert mirror LV {name} to raid1 type?"),
        )?;
        let outcome = mirror_to_raid1(self.vg(), self.key, &self.growth, &mut RandomIds);
        let converted = done(session, outcome)?;
        self.commit(session, converted.vg)?;
        let text = format!("Logical volume {name} successfully converted.");
        session.ui().print(text);
        Ok(())
    }

    fn split(&self, session: &mut Session, count: u32) -> Result<()> {
        let new = self.args.text(Opt::Name).unwrap_or_default();
        let new = match super::lv_args::parse_name(new) {
            Ok(super::lv_args::Name::Plain(lv) | super::lv_args::Name::Path { lv, .. }) => lv,
            Err(e) => return Err(e),
        };
        let pvs = self.pvs();
        let pvs = pvs.as_deref();
        let (vg, key) = (self.vg(), self.key);
        let what = (count, new.as_str());
        let outcome = match mirror_of(vg, key) {
            Some(_) => mirror_split(vg, key, what, pvs, self.sync, &mut RandomIds),
            None => raid1_split(vg, key, what, pvs, self.sync),
        };
        let split = done(session, outcome)?;
        self.keeps_data(session, &split.vg, Some(split.value))?;
        self.commit(session, split.vg)?;
        if mirror_of(vg, key).is_some() {
            let text = format!("Logical volume {} converted.", self.name());
            session.ui().print(text);
        }
        Ok(())
    }

    fn track(&self, session: &mut Session, count: u32) -> Result<()> {
        if count != 1 {
            let text =
                "Exactly one image must be split off from raid1 volume tracking changes to it.";
            return Err(Error::refused(text));
        }
        let pvs = self.pvs();
        let outcome = raid1_track(self.vg(), self.key, pvs.as_deref(), self.sync);
        let tracked = outcome.map_err(|e| Error::refused(e.message))?;
        self.commit(session, tracked.vg)?;
        tracked.notices.iter().for_each(|n| session.ui().say(n));
        Ok(())
    }

    fn merge(&self, session: &mut Session) -> Result<()> {
        let outcome = raid1_merge(self.vg(), self.key);
        let mut merged = outcome.map_err(|e| Error::refused(e.message))?;
        // What was written meanwhile is known to whoever has had the LV active since; from here on
        // nobody can tell, so all of the image is copied.
        if self.sync != Sync::Unknown {
            merged.vg.lvs[self.key].status.rebuild = true;
        }
        self.commit(session, merged.vg)?;
        merged.notices.iter().for_each(|n| session.ui().say(n));
        Ok(())
    }

    fn replace(&self, session: &mut Session) -> Result<()> {
        let words: Vec<String> = self.args.texts(Opt::Replace).map(str::to_owned).collect();
        let bad: Vec<PvKey> = pv_args(session, &self.read, &words)?
            .iter()
            .map(|arg| arg.pv)
            .collect();
        if raid1_of(self.vg(), self.key).is_none() {
            return Err(Error::refused(format!(
                "--replace can only be used with RAID LVs, which {} is not.",
                self.name()
            )));
        }
        self.replace_on(session, &bad).map(drop)
    }

    /// Replaces the images on these PVs. False if there are none.
    fn replace_on(&self, session: &mut Session, bad: &[PvKey]) -> Result<bool> {
        let outcome = raid1_replace(
            self.vg(),
            self.key,
            bad,
            self.sync,
            &self.growth,
            &mut RandomIds,
        );
        let mut replaced = done(session, outcome)?;
        match replaced.value {
            Replaced::None => {
                let text = format!(
                    "{} does not contain devices specified to replace.",
                    self.name()
                );
                session.ui().warn(text);
                Ok(false)
            }
            Replaced::Images(images) => {
                self.keeps_data(session, &replaced.vg, None)?;
                self.mark(&mut replaced.vg, &images, true);
                self.commit(session, replaced.vg)?;
                Ok(true)
            }
        }
    }

    fn repair(&self, session: &mut Session) -> Result<()> {
        let name = self.name();
        let missing: Vec<PvKey> = self
            .vg()
            .pvs
            .keys()
            .filter(|pv| self.read.pv(*pv).device().is_none())
            .collect();
        if raid1_of(self.vg(), self.key).is_some() {
            if !self.args.has(Opt::Usepolicies) {
                let question =
                    "Attempt to replace failed RAID images (requires full device resync)?";
                self.confirm(session, question)?;
            }
            self.replace_on(session, &missing)?;
            let text = format!("Faulty devices in {name} successfully replaced.");
            session.ui().print(text);
            return Ok(());
        }
        let Some(mirror) = mirror_of(self.vg(), self.key) else {
            let text = format!("Operation not permitted on LV {name}: it is no mirror.");
            return Err(Error::refused(text));
        };
        let (legs, disk) = (mirror.legs.len(), mirror.log.is_some());
        let repaired = done(session, repair_partial(self.vg(), self.key, &missing, true))?;
        if !matches!(repaired.value, Repair::Repaired) {
            let text = format!("{name} cannot be repaired: no mirror image is whole.");
            return Err(Error::refused(text));
        }
        self.refill(session, repaired.vg, (legs, disk))
    }

    /// Gives a mirror that has lost legs as many as it had, where there is room; that is told.
    fn refill(&self, session: &mut Session, vg: Vg, (legs, disk): (usize, bool)) -> Result<()> {
        let want = u32::try_from(legs).unwrap_or(u32::MAX);
        let left = mirror_of(&vg, self.key);
        let (have, log) = left.map_or((1, None), |m| (m.legs.len(), m.log));
        let mut vg = vg;
        if have < legs && self.args.has(Opt::Yes) {
            let grown = mirror_grow(
                &vg,
                self.key,
                (want, disk),
                Sync::Done,
                &self.growth,
                &mut RandomIds,
            );
            match grown {
                Ok(grown) => {
                    if let Some(log) = log {
                        forget_log(session, &self.read, log)?;
                    }
                    vg = grown.vg;
                }
                Err(e) => session.ui().warn(e.message),
            }
        }
        if disk && mirror_of(&vg, self.key).is_some_and(|m| m.log.is_none()) {
            match mirror_log(&vg, self.key, true, &self.growth, &mut RandomIds) {
                Ok(logged) => vg = logged.vg,
                Err(e) => session.ui().warn(e.message),
            }
        }
        self.commit(session, vg)
    }
}
