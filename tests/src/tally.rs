//! Who answered how often.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use anyhow::{Result, ensure};

use crate::http::Answer;

/// Answers counted by server, and what went wrong.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of answers of each server.
    pub servers: BTreeMap<String, u64>,
    /// Client addresses the servers saw.
    pub clients: BTreeSet<IpAddr>,
    /// Every failed request's error.
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts one outcome.
    pub fn record(&mut self, outcome: Result<Answer>) {
        match outcome {
            Ok(answer) => {
                *self.servers.entry(answer.server).or_default() += 1;
                self.clients.insert(answer.client.ip());
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        for (server, count) in other.servers {
            *self.servers.entry(server).or_default() += count;
        }
        self.clients.extend(other.clients);
        self.failures.extend(other.failures);
    }

    /// Number of answers.
    pub fn answers(&self) -> u64 {
        self.servers.values().sum()
    }

    /// Number of answers of `server`.
    pub fn of(&self, server: &str) -> u64 {
        self.servers.get(server).copied().unwrap_or_default()
    }

    /// Insists that nothing failed.
    ///
    /// # Errors
    /// With the tally, when anything did.
    pub fn all_answered(&self) -> Result<()> {
        ensure!(self.failures.is_empty(), "{self:?}");
        Ok(())
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to see what kind of failure it is.
        const SHOWN: usize = 5;
        write!(f, "{:?}, clients {:?}", self.servers, self.clients)?;
        if !self.failures.is_empty() {
            write!(f, ", {} failed:", self.failures.len())?;
            self.failures.iter().take(SHOWN).try_for_each(|error| write!(f, " [{error}]"))?;
        }
        Ok(())
    }
}
