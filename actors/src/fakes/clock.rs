//! Clocks on tokio's clock: the true time, and the machine of the operator, whose clock may be
//! wrong.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::clock_filter::ClockFilter;
use crate::domain::time::Timestamp;
use crate::ports::Clock;

/// Tokio's clock, starting on a fixed date.
#[derive(Debug)]
pub(crate) struct FakeClock {
    began: Instant,
}

impl Default for FakeClock {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_478_400) + self.began.elapsed()
    }

    fn steps_back(&self) -> u32 {
        0
    }
}

/// Wall clock of the operator's machine. Right, unless a test sets it wrong; API server and CA have
/// clocks of their own.
pub struct MachineClock {
    right: Rc<dyn Clock>,
    ahead: Cell<Duration>,
    behind: Cell<Duration>,
}

impl MachineClock {
    pub(crate) fn new(right: Rc<dyn Clock>) -> Self {
        Self { right, ahead: Cell::default(), behind: Cell::default() }
    }

    /// Sets the clock ahead of the true time; zero sets it right.
    pub fn set_ahead(&self, by: Duration) {
        self.ahead.set(by);
        self.behind.set(Duration::ZERO);
    }

    /// Sets the clock behind the true time; zero sets it right.
    pub fn set_behind(&self, by: Duration) {
        self.behind.set(by);
        self.ahead.set(Duration::ZERO);
    }

    fn read(&self) -> Timestamp {
        self.right.now() + self.ahead.get() - self.behind.get()
    }

    /// Clock of a process that starts now, with the filter that the adapter has too.
    pub(crate) fn of_a_process(self: &Rc<Self>) -> Rc<dyn Clock> {
        let began = Instant::now();
        let filter = RefCell::new(ClockFilter::new(self.read(), Duration::ZERO));
        Rc::new(ProcessClock { machine: self.clone(), began, filter })
    }
}

/// Clock of one process.
struct ProcessClock {
    machine: Rc<MachineClock>,
    began: Instant,
    filter: RefCell<ClockFilter>,
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.filter.borrow_mut().now(self.machine.read(), self.began.elapsed())
    }

    fn steps_back(&self) -> u32 {
        self.filter.borrow().steps_back()
    }
}
