// SPDX-License-Identifier: GPL-2.0-only
//! The picture on a terminal: looks, keys, and the terminal as it was afterwards.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::DefaultTerminal;

use super::keys::{self, Deed};
use super::model::{Model, Popup};
use super::source::{Ask, Asker, Source, Told};
use super::view::{self, Theme};

/// How long a signal or an answer may wait to be noticed; keys are at once.
const TICK: Duration = Duration::from_millis(50);
/// The first look is at so much at most: nobody likes an empty screen.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// What is said of a terminal that is gone.
const UNREADABLE: &str = "cannot read from the terminal";

/// The terminal in raw mode, on its second screen. Dropping it brings back the first one, the cursor
/// and the mode, whatever ended the picture; a panic's message comes after that.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        // It also has panics restore the terminal before they say what they are.
        let terminal = ratatui::try_init().inspect_err(|_| restore())?;
        let mut screen = Self(terminal);
        screen.0.hide_cursor()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // A terminal that is gone needs nothing.
    let _ = ratatui::try_restore();
    let _ = execute!(io::stdout(), Show);
}

/// Draws until a key, a signal or the scheduler ends it, or `most` looks were shown.
///
/// # Errors
/// If the terminal cannot be used, or there is nothing to look at any more.
pub fn run(source: Source, interval: Duration, most: Option<u64>) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let stop_by_signal = Arc::clone(&stop);
    ctrlc::set_handler(move || stop_by_signal.store(true, Ordering::Relaxed))
        .context("cannot catch signals")?;
    let asker = Asker::start(source)?;
    let theme = Theme::of(|name| std::env::var(name).ok());
    let mut screen = Screen::open().context("cannot use the terminal: try --plain")?;
    let picture = Picture {
        model: Model::new(interval),
        asker,
        asked: false,
        last: Instant::now(),
        left: most,
    };
    picture.run(&mut screen.0, theme, &stop)
}

struct Picture {
    model: Model,
    asker: Asker,
    /// A look was asked for and has not come.
    asked: bool,
    /// When a look was last asked for.
    last: Instant,
    /// How many looks are still to be shown, if not all.
    left: Option<u64>,
}

impl Picture {
    fn run(
        mut self,
        terminal: &mut DefaultTerminal,
        theme: Theme,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut stale = true;
        while !stop.load(Ordering::Relaxed) {
            if stale {
                terminal
                    .draw(|frame| view::draw(&self.model, theme, frame.area(), frame.buffer_mut()))
                    .context("cannot write to the terminal")?;
            }
            if self.left == Some(0) {
                return Ok(());
            }
            self.look_if_due()?;
            stale = false;
            if event::poll(TICK).context(UNREADABLE)? {
                stale = true;
                if let Event::Key(key) = event::read().context(UNREADABLE)? {
                    match keys::press(&mut self.model, key) {
                        Deed::Quit => return Ok(()),
                        Deed::Change(request) => self.asker.ask(Ask::Change(request))?,
                        Deed::None => {}
                    }
                }
            }
            while let Some(told) = self.asker.told() {
                stale = true;
                self.take(told)?;
            }
        }
        Ok(())
    }

    fn look_if_due(&mut self) -> Result<()> {
        let interval = match self.model.sample {
            None => self.model.interval.min(FIRST_LOOK),
            Some(_) => self.model.interval,
        };
        if !self.asked && !self.model.paused && self.last.elapsed() >= interval {
            self.last = Instant::now();
            self.asked = true;
            self.asker.ask(Ask::Look)?;
        }
        Ok(())
    }

    fn take(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Look(look) => {
                self.asked = false;
                self.model.add((*look)?);
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
            Told::Changed(Ok(reply)) => {
                // The next look may be a minute away.
                if let Some(sample) = &mut self.model.sample {
                    sample.metrics.policy.clone_from(&reply.settings.policy);
                    sample.settings = Some(reply);
                }
            }
            Told::Changed(Err(why)) => self.model.popup = Some(Popup::Sentence(why.to_string())),
        }
        Ok(())
    }
}
