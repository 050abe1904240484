//! Replies on standard output: tables for people, JSON for programs.

use std::io::{self, BufWriter, Write};

use evpnd::control::Reply;
use evpnd::control::render::Renderer;
use serde::Serialize;

/// Writes replies to standard output.
pub(crate) struct Printer {
    out: BufWriter<io::StdoutLock<'static>>,
    json: bool,
    renderer: Renderer,
    /// Items of a JSON array written so far; none where no array was begun.
    items: Option<u64>,
}

impl Printer {
    pub(crate) fn new(json: bool, detailed: bool) -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), json, renderer: Renderer::new(detailed), items: None }
    }

    pub(crate) fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        if !self.json {
            return self.out.write_all(self.renderer.page(reply).as_bytes());
        }
        match reply {
            Reply::Status(status) => self.object(status),
            Reply::Neighbors(page) => self.array(&page.items),
            Reply::Vnis(page) => self.array(&page.items),
            Reply::Vteps(page) => self.array(&page.items),
            Reply::Macs(page) => self.array(&page.items),
            Reply::Routes(page) => self.array(&page.items),
            Reply::Diff(page) => self.array(&page.items),
            Reply::Explanation(explanation) => self.object(explanation),
            Reply::Event(line) => self.object(line),
            Reply::Done { .. } | Reply::Refused { .. } | Reply::NotFound { .. } => self.object(reply),
        }
    }

    pub(crate) fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Another piece of one array, an item a line.
    pub(crate) fn array(&mut self, items: &[impl Serialize]) -> io::Result<()> {
        if self.items.is_none() {
            self.out.write_all(b"[")?;
        }
        let written = self.items.get_or_insert(0);
        for item in items {
            self.out.write_all(if *written == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut self.out, item)?;
            *written += 1;
        }
        Ok(())
    }

    pub(crate) fn event(&mut self, reply: &Reply) -> io::Result<()> {
        self.reply(reply)?;
        self.out.flush()
    }

    /// Programs find the reason on standard output as well.
    pub(crate) fn refused(&mut self, reply: &Reply) -> io::Result<()> {
        if self.json && self.items.is_none() {
            self.object(reply)?;
            self.out.flush()?;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self.items {
            Some(0) => self.out.write_all(b"]\n")?,
            Some(_) => self.out.write_all(b"\n]\n")?,
            None => {}
        }
        self.out.flush()
    }
}
