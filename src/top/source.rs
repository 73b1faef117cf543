// SPDX-License-Identifier: GPL-2.0-only
//! Where looks at the running scheduler come from: its statistics, its settings, the machine's load.
//!
//! For the picture a thread asks, so that keys are answered while a scheduler in trouble is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread::Builder;

use anyhow::{Context, Result};

use super::model::Sample;
use crate::control::{self, ControlError, Reply, Request};
use crate::stats::{self, MonitorError, Watcher};

/// The machine's load averages.
const LOADAVG: &str = "/proc/loadavg";

/// The sockets of a running scx_mpg.
pub struct Source {
    watcher: Watcher,
    control: PathBuf,
}

impl Source {
    /// Connects to the scx_mpg that runs; the first look is at what happens from here on.
    ///
    /// # Errors
    /// If none runs, or its statistics may not be read.
    pub fn connect() -> Result<Self, MonitorError> {
        let mut watcher = Watcher::connect(Path::new(stats::SOCKET_PATH))?;
        // What it counted since its load would be a picture of another time.
        watcher.read()?;
        Ok(Self {
            watcher,
            control: PathBuf::from(control::SOCKET_PATH),
        })
    }

    /// What happened since the look before.
    ///
    /// # Errors
    /// If the scheduler has ended, or does not answer.
    pub fn look(&mut self) -> Result<Sample, MonitorError> {
        let metrics = self.watcher.read()?;
        Ok(Sample {
            metrics,
            // Whoever may not ask for the settings still sees the rest.
            settings: self.request(&Request::Show {}).ok(),
            load: fs::read_to_string(LOADAVG)
                .ok()
                .and_then(|line| line.split(' ').next()?.parse().ok()),
        })
    }

    fn request(&self, request: &Request) -> Result<Reply, ControlError> {
        control::request(&self.control, request)
    }
}

/// What the thread is asked for.
pub enum Ask {
    /// A look.
    Look,
    /// A change of settings.
    Change(Request),
}

/// What it answers.
pub enum Told {
    /// A look, or why there will be none any more.
    Look(Box<Result<Sample, MonitorError>>),
    /// What became of a change.
    Changed(Result<Reply, ControlError>),
}

/// The thread that asks.
pub struct Asker {
    asks: Sender<Ask>,
    told: Receiver<Told>,
}

impl Asker {
    /// Starts it; it ends with the `Asker`, or with the process if it waits for an answer then.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(mut source: Source) -> Result<Self> {
        let (asks, asked) = channel();
        let (tell, told) = channel();
        Builder::new()
            .name("mpg-top".to_string())
            .spawn(move || {
                for ask in asked {
                    let answer = match ask {
                        Ask::Look => Told::Look(Box::new(source.look())),
                        Ask::Change(request) => Told::Changed(source.request(&request)),
                    };
                    if tell.send(answer).is_err() {
                        return;
                    }
                }
            })
            .context("cannot start the thread that asks scx_mpg")?;
        Ok(Self { asks, told })
    }

    /// Asks; the answer comes later.
    ///
    /// # Errors
    /// If the thread has ended, which only a fault makes it do.
    pub fn ask(&self, ask: Ask) -> Result<()> {
        let asked = self.asks.send(ask).ok();
        asked.context("the thread that asks scx_mpg has ended: please report this")
    }

    /// An answer, if one has come.
    pub fn told(&self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}
