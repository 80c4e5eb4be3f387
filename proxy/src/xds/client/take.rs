//! Takes what comes, from the server and from files, among the resources.

use std::collections::BTreeSet;
use std::path::PathBuf;

use api::envoy::service::discovery::v3::Resource;

use super::count::Ended;
use super::{Client, Unanswered};
use crate::config::{FileSource, ResourceKind as Kind, Source};
use crate::xds::resources::{Key, Origin};
use crate::xds::session::{Session, Update};
use crate::xds::stream::Event;

impl Client {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Opening(requests, open) => {
                let node = self.options.node.clone();
                let first_only = self.options.server.as_ref().is_some_and(|server| server.node_on_first_message_only);
                self.session = Some(Session::new(requests, node, first_only, open));
                self.unanswered.clear();
                self.tell_health();
            }
            Event::Ended => {
                self.session = None;
                self.count_stream(false);
                let wanted: Vec<_> = self.wildcards().filter(|(_, source)| source.from == Source::Ads).collect();
                wanted.into_iter().for_each(|(kind, _)| self.count(kind, "", Ended::Failure, ""));
            }
            Event::Came(response) => {
                self.count_stream(true);
                self.take(response.into_update());
            }
        }
    }

    /// Takes a response. It is answered once it is in force.
    fn take(&mut self, update: Update) {
        let Some(kind) = Kind::of(&update.type_url) else {
            if let Some(session) = &mut self.session {
                session.refuse_type(update.type_url, update.nonce);
            }
            return;
        };
        let mut errors = update.errors;
        let kept: BTreeSet<&String> = update.resources.iter().map(|resource| &resource.name).collect();
        let gone = if update.whole { self.others(kind, &kept, &Origin::Ads) } else { update.removed };
        // First let go: an address may pass from one listener to another.
        gone.into_iter().for_each(|name| self.lose((kind, name)));
        for resource in update.resources {
            errors.extend(self.insert_counted(kind, resource, Origin::Ads).err());
        }
        self.dirty = true;
        self.heard.insert(kind);
        self.unanswered.push(Unanswered { kind, nonce: update.nonce, version: update.version, errors });
    }

    /// The names of a kind that came from there and are not among those.
    fn others(&self, kind: Kind, kept: &BTreeSet<&String>, origin: &Origin) -> Vec<String> {
        let others = self.resources.of(kind).filter(|(name, held)| held.origin == *origin && !kept.contains(name));
        others.map(|(name, _)| name.clone()).collect()
    }

    fn lose(&mut self, key: Key) {
        if !self.is_static(&key) {
            self.resources.remove(&key);
        }
    }

    fn is_static(&self, key: &Key) -> bool {
        self.resources.get(key).is_some_and(|held| held.origin == Origin::Static)
    }

    /// What stands in the bootstrap file stays as it is (Envoy: such an update is skipped).
    fn insert(&mut self, kind: Kind, resource: Resource, origin: Origin) -> Result<(), String> {
        if self.is_static(&(kind, resource.name.clone())) {
            tracing::warn!(
                ?kind,
                name = resource.name,
                "stands in the bootstrap file too, and that one stays in force"
            );
            return Ok(());
        }
        self.resources.insert(kind, resource, origin)
    }

    /// Takes what is wanted from files and not taken yet, and what that wants from files in turn.
    pub(super) fn take_files(&mut self) {
        let whole: Vec<_> = self.wildcards().map(|(kind, source)| (kind, source.from.clone())).collect();
        for (kind, from) in whole {
            if let Source::File(file) = from {
                self.take_whole(kind, &file);
            }
        }
        for (key, source) in self.resources.wanted() {
            if let Source::File(file) = source.from {
                self.take_named(key, &file);
            }
        }
        let files = &self.files_wanted();
        let paths = files.iter().map(|file| file.path.clone()).collect();
        self.files.retain(&paths);
        self.forget_unwanted();
    }

    /// Lets go of what came from files and nothing refers to any more.
    fn forget_unwanted(&mut self) {
        let wanted = self.resources.wanted();
        let gone: Vec<_> =
            self.taken.keys().filter(|key| !key.1.is_empty() && !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            self.taken.remove(&key);
            self.resources.forget(&key);
        }
    }

    /// The clusters or listeners that a file holds.
    fn take_whole(&mut self, kind: Kind, file: &FileSource) {
        let content = self.files.content(&file.path);
        let taken = (file.path.clone(), content.generation);
        self.heard.insert(kind);
        if content.generation == 0 || self.taken.get(&(kind, String::new())) == Some(&taken) {
            return;
        }
        let resources = content.resources.get(&kind).cloned().unwrap_or_default();
        self.taken.insert((kind, String::new()), taken);
        let origin = Origin::File(file.path.clone());
        for name in self.others(kind, &resources.keys().collect(), &origin) {
            self.lose((kind, name));
        }
        let version = resources.values().next().map(|resource| resource.version.clone()).unwrap_or_default();
        let mut all_taken = true;
        for resource in resources.into_values() {
            all_taken &= self.insert_from(file, kind, resource);
        }
        let ended = if all_taken { Ended::Success } else { Ended::Rejected };
        self.count(kind, "", ended, &version);
        self.dirty = true;
    }

    fn take_named(&mut self, key: Key, file: &FileSource) {
        let content = self.files.content(&file.path);
        let taken = (file.path.clone(), content.generation);
        if content.generation == 0 || self.taken.get(&key) == Some(&taken) {
            return;
        }
        let resource = content.resources.get(&key.0).and_then(|of_kind| of_kind.get(&key.1)).cloned();
        self.taken.insert(key.clone(), taken);
        match resource {
            Some(resource) => {
                self.insert_from(file, key.0, resource);
            }
            None => {
                let (kind, path) = (key.0, file.path.display());
                tracing::error!("{path}: holds no resource of the name {:?} and the type {}", key.1, kind.type_url());
            }
        }
        self.dirty = true;
    }

    /// Whether it was taken.
    fn insert_from(&mut self, file: &FileSource, kind: Kind, resource: Resource) -> bool {
        let taken = self.insert_counted(kind, resource, Origin::File(file.path.clone()));
        if let Err(error) = &taken {
            tracing::error!("{}: {error}; staying with what was there", file.path.display());
        }
        taken.is_ok()
    }

    /// Clusters and listeners are counted together, when all were taken.
    fn insert_counted(&mut self, kind: Kind, resource: Resource, origin: Origin) -> Result<(), String> {
        let (name, version) = (resource.name.clone(), resource.version.clone());
        let taken = self.insert(kind, resource, origin);
        if !matches!(kind, Kind::Cluster | Kind::Listener) {
            let ended = if taken.is_ok() { Ended::Success } else { Ended::Rejected };
            self.count(kind, &name, ended, &version);
        }
        taken
    }

    fn files_wanted(&self) -> BTreeSet<FileSource> {
        let whole = self.wildcards().map(|(_, source)| source.from.clone());
        let named = self.resources.wanted().into_values().map(|source| source.from);
        let file = |source| if let Source::File(file) = source { Some(file) } else { None };
        whole.chain(named).filter_map(file).collect()
    }

    pub(super) fn watch_files(&mut self) {
        let mut directories = self.resources.directories();
        for file in self.files_wanted() {
            directories.extend(file.path.parent().map(PathBuf::from));
            directories.extend(file.watched_directory);
        }
        self.files.watch(directories);
    }
}
