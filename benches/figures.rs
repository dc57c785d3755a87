//! What is read off: quantiles of samples, and what processes use.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The sample below which this part of them is.
pub fn quantile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    match samples.len() {
        0 => f64::NAN,
        count => samples[((count - 1) as f64 * part).round() as usize],
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A process's proportional set size in MiB.
pub fn memory(pid: u32) -> Result<f64> {
    of_rollup(pid, "Pss:")
}

/// What of a process's memory is its own, in MiB.
pub fn private(pid: u32) -> Result<f64> {
    Ok(of_rollup(pid, "Private_Clean:")? + of_rollup(pid, "Private_Dirty:")?)
}

fn of_rollup(pid: u32, field: &str) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)).with_context(|| field.to_owned())?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Seconds of CPU that a process has used so far.
pub fn cpu(pid: u32) -> Result<f64> {
    Ok(Duration::from(ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32))?.now()?).as_secs_f64())
}

/// Seconds of CPU that the programs have used which a process ran and that ended.
pub fn cpu_of_children(pid: u32) -> Result<f64> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.context("ticks")? as f64;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    Ok((fields[13].parse::<f64>()? + fields[14].parse::<f64>()?) / ticks)
}
