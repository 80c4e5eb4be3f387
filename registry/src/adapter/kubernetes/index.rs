//! All that is known of a cluster, and which services a change concerns. Pure: changes in, events out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Options;
use super::objects::{EndpointSlice, Key, Meta, Namespace, Node, Pod, Service};
use super::translate::{self, NETWORK, REGION, SUB_ZONE, Surroundings, ZONE};
use crate::model::{self, Endpoint, Locality, ServiceKey};
use crate::source::Event;

/// The label by which a slice says whose endpoints it holds.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where the control plane's namespace tells the network of the cluster.
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

/// What happened to one object.
#[derive(Debug)]
pub(super) enum Seen {
    Service(Key, Option<Service>),
    Slice(Key, Option<EndpointSlice>),
    Pod(Key, Option<Pod>),
    Node(Key, Option<Node>),
    Namespace(Key, Option<Namespace>),
}

/// A kind of object that is followed.
pub(super) trait Followed: Sized {
    fn meta(&self) -> &Meta;
    fn seen(key: Key, object: Option<Self>) -> Seen;
    /// The keys of all objects of this kind that are known.
    fn known(index: &Index) -> Vec<Key>;
}

pub(super) struct Index {
    options: Options,
    services: BTreeMap<Key, Service>,
    slices: HashMap<Key, EndpointSlice>,
    pods: HashMap<Key, Pod>,
    localities: HashMap<String, Locality>,
    network: String,
    slices_of_service: HashMap<Key, BTreeSet<Key>>,
    slices_of_pod: HashMap<Key, BTreeSet<Key>>,
    /// ExternalName services by the host they stand for.
    external: HashMap<String, BTreeSet<Key>>,
    /// Services to be looked at again.
    touched: BTreeSet<Key>,
    told: BTreeMap<Key, (model::Service, Vec<Endpoint>)>,
    /// What services ask for and the mesh does not do; and whether that changed since it was told.
    findings: BTreeMap<Key, Vec<String>>,
    found_anew: bool,
}

impl Index {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            services: BTreeMap::new(),
            slices: HashMap::new(),
            pods: HashMap::new(),
            localities: HashMap::new(),
            network: String::new(),
            slices_of_service: HashMap::new(),
            slices_of_pod: HashMap::new(),
            external: HashMap::new(),
            touched: BTreeSet::new(),
            told: BTreeMap::new(),
            findings: BTreeMap::new(),
            found_anew: false,
        }
    }

    /// Takes a complete list: what is not in it is gone.
    pub fn replace<T: Followed>(&mut self, objects: Vec<T>) {
        let mut gone: BTreeSet<Key> = T::known(self).into_iter().collect();
        for object in objects {
            let key = object.meta().key();
            gone.remove(&key);
            self.see(T::seen(key, Some(object)));
        }
        gone.into_iter().for_each(|key| self.see(T::seen(key, None)));
    }

    pub fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Service(key, service) => self.see_service(key, service),
            Seen::Slice(key, slice) => self.see_slice(key, slice),
            Seen::Pod(key, pod) => self.see_pod(key, pod),
            Seen::Node(key, node) => self.see_node(key.1, node),
            Seen::Namespace(key, namespace) => self.see_namespace(key, namespace),
        }
    }

    fn see_service(&mut self, key: Key, service: Option<Service>) {
        self.find(&key, service.as_ref());
        let before = match &service {
            Some(service) => self.services.insert(key.clone(), service.clone()),
            None => self.services.remove(&key),
        };
        let host_of = |service: &Service| service.spec.is_external().then(|| service.spec.external_name.clone());
        let (old, new) = (before.as_ref().and_then(host_of), service.as_ref().and_then(host_of));
        if old != new {
            if let Some(host) = old {
                if let Some(names) = self.external.get_mut(&host) {
                    names.remove(&key);
                }
                self.touch_host(&host);
            }
            if let Some(host) = new {
                self.external.entry(host.clone()).or_default().insert(key.clone());
                self.touch_host(&host);
            }
        }
        // Whether an external name is one of the mesh's may have changed.
        if before.is_some() != service.is_some()
            && let Some(names) = self.external.get(&self.host(&key))
        {
            self.touched.extend(names.iter().cloned());
        }
        self.touched.insert(key);
    }

    fn find(&mut self, key: &Key, service: Option<&Service>) {
        let now = service.map(translate::not_honoured).unwrap_or_default();
        let before = match now.is_empty() {
            true => self.findings.remove(key).unwrap_or_default(),
            false => self.findings.insert(key.clone(), now.clone()).unwrap_or_default(),
        };
        self.found_anew |= before != now;
    }

    /// All that was found, if that is not what was told last.
    pub fn findings(&mut self) -> Option<Event> {
        let words = |(key, found): (&Key, &Vec<String>)| {
            format!("Service {}/{}: not honoured: {}", key.0, key.1, found.join(", "))
        };
        std::mem::take(&mut self.found_anew).then(|| Event::Findings(self.findings.iter().map(words).collect()))
    }

    fn see_slice(&mut self, key: Key, slice: Option<EndpointSlice>) {
        if let Some(old) = self.slices.get(&key) {
            let (service, pods) = owners(old);
            remove(&mut self.slices_of_service, &service, &key);
            pods.iter().for_each(|pod| remove(&mut self.slices_of_pod, pod, &key));
            self.touched.insert(service);
        }
        let Some(slice) = slice else {
            self.slices.remove(&key);
            return;
        };
        let (service, pods) = owners(&slice);
        for pod in pods {
            self.slices_of_pod.entry(pod).or_default().insert(key.clone());
        }
        self.slices_of_service.entry(service.clone()).or_default().insert(key.clone());
        self.touched.insert(service);
        self.slices.insert(key, slice);
    }

    fn see_pod(&mut self, key: Key, pod: Option<Pod>) {
        let matters = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.uid.clone(), pod.spec.clone());
        if self.pods.get(&key).map(matters) == pod.as_ref().map(matters) {
            return;
        }
        for slice in self.slices_of_pod.get(&key).into_iter().flatten() {
            if let Some(slice) = self.slices.get(slice) {
                self.touched.insert(owners(slice).0);
            }
        }
        match pod {
            Some(pod) => self.pods.insert(key, pod),
            None => self.pods.remove(&key),
        };
    }

    fn see_node(&mut self, name: String, node: Option<Node>) {
        let locality = node.map(|node| Locality {
            region: node.metadata.label(REGION).to_owned(),
            zone: node.metadata.label(ZONE).to_owned(),
            sub_zone: node.metadata.label(SUB_ZONE).to_owned(),
        });
        if self.localities.get(&name) == locality.as_ref() {
            return;
        }
        match locality {
            Some(locality) => self.localities.insert(name, locality),
            None => self.localities.remove(&name),
        };
        // Rare enough to look at everything.
        self.touched.extend(self.services.keys().cloned());
    }

    fn see_namespace(&mut self, key: Key, namespace: Option<Namespace>) {
        let network = namespace.as_ref().map_or("", |namespace| namespace.metadata.label(NETWORK));
        if key.1 == ROOT_NAMESPACE && self.network != network {
            network.clone_into(&mut self.network);
            self.touched.extend(self.services.keys().cloned());
        }
    }

    fn host(&self, (namespace, name): &Key) -> String {
        format!("{name}.{namespace}.svc.{}", self.options.domain)
    }

    /// The service of the mesh that has this host.
    fn service_at(&self, host: &str) -> Option<Key> {
        let (name, rest) = host.split_once('.')?;
        let namespace = rest.strip_suffix(&*self.options.domain)?.strip_suffix(".svc.")?;
        let key = (namespace.to_owned(), name.to_owned());
        self.services.contains_key(&key).then_some(key)
    }

    fn touch_host(&mut self, host: &str) {
        self.touched.extend(self.service_at(host));
    }

    /// What changed for callers since the last time.
    pub fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let Some(host) = translate::key(&key, &self.options.domain) else { continue };
            let now = self.describe(&key);
            let before = match &now {
                Some(now) => self.told.insert(key, now.clone()),
                None => self.told.remove(&key),
            };
            events.extend(difference(host, before, now));
        }
        events
    }

    /// A service as it is now. One that only stands for another service of the mesh is an alias of that one.
    fn describe(&self, key: &Key) -> Option<(model::Service, Vec<Endpoint>)> {
        let service = self.services.get(key)?;
        if service.spec.is_external() && self.service_at(&service.spec.external_name).is_some() {
            return None;
        }
        let none = BTreeSet::new();
        let aliases = self.external.get(&self.host(key)).unwrap_or(&none);
        let described = translate::service(service, aliases, &self.options)?;
        let slices = self.slices_of_service.get(key).into_iter().flatten();
        let slices = slices.filter_map(|slice| self.slices.get(slice));
        Some((described, translate::endpoints(service, slices, self, &self.options)))
    }
}

impl Surroundings for Index {
    fn pod(&self, key: &Key) -> Option<&Pod> {
        self.pods.get(key)
    }

    fn locality(&self, node: &str) -> Option<&Locality> {
        self.localities.get(node)
    }

    fn network(&self) -> &str {
        &self.network
    }
}

/// The service of a slice, and the pods in it.
fn owners(slice: &EndpointSlice) -> (Key, Vec<Key>) {
    let namespace = &slice.metadata.namespace;
    let service = (namespace.clone(), slice.metadata.label(SERVICE_NAME).to_owned());
    let pods = slice.endpoints.iter().filter_map(|endpoint| translate::pod_of(endpoint, namespace));
    (service, pods.collect())
}

fn remove(index: &mut HashMap<Key, BTreeSet<Key>>, owner: &Key, slice: &Key) {
    if let Some(slices) = index.get_mut(owner) {
        slices.remove(slice);
        if slices.is_empty() {
            index.remove(owner);
        }
    }
}

type Described = (model::Service, Vec<Endpoint>);

fn difference(key: ServiceKey, before: Option<Described>, now: Option<Described>) -> Vec<Event> {
    let (service, endpoints) = match (before, now) {
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec![Event::ServiceGone(key)],
        (Some(before), Some(now)) => ((before.0 != now.0).then_some(now.0), (before.1 != now.1).then_some(now.1)),
        (None, Some(now)) => (Some(now.0), Some(now.1)),
    };
    let endpoints = endpoints.map(|endpoints| Event::Endpoints(key, endpoints));
    service.map(Event::Service).into_iter().chain(endpoints).collect()
}

macro_rules! followed {
    ($($kind:ty, $seen:ident, $known:expr;)*) => {$(
        impl Followed for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }

            fn seen(key: Key, object: Option<Self>) -> Seen {
                Seen::$seen(key, object)
            }

            fn known(index: &Index) -> Vec<Key> {
                let known: fn(&Index) -> Vec<Key> = $known;
                known(index)
            }
        }
    )*};
}

followed! {
    Service, Service, |index| index.services.keys().cloned().collect();
    EndpointSlice, Slice, |index| index.slices.keys().cloned().collect();
    Pod, Pod, |index| index.pods.keys().cloned().collect();
    Node, Node, |index| index.localities.keys().map(|name| (String::new(), name.clone())).collect();
    Namespace, Namespace, |_| vec![(String::new(), ROOT_NAMESPACE.to_owned())];
}
