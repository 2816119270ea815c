//! Bounds of the engine: every number here is clamped to what works, so that no setting can make
//! the engine useless or unbounded. What they cost in memory is in `docs/engine.md`.

/// How operations are carried to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriverChoice {
    /// io_uring where the kernel lets us, else threads.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// Threads.
    Pool,
}

/// Settings of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Queue threads.
    pub queues: usize,
    /// Operations in the driver at a time, per queue.
    pub depth: u32,
    /// Bind each queue thread to a CPU.
    pub pin: bool,
    /// Threads of the pool (all queues together), where it is used.
    pub pool_threads: usize,
    /// How operations are carried to the kernel.
    pub driver: DriverChoice,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queues: cpus().min(4),
            depth: 128,
            pin: false,
            pool_threads: 2 * cpus(),
            driver: DriverChoice::Auto,
        }
    }
}

impl Settings {
    /// Within what works: at most one queue per CPU, a depth of 4 to 4096, at most 64 threads.
    pub fn clamped(mut self) -> Self {
        self.queues = self.queues.clamp(1, cpus());
        self.depth = self.depth.clamp(4, 4096).next_power_of_two();
        self.pool_threads = self.pool_threads.clamp(1, 64);
        self
    }
}

/// CPUs this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
