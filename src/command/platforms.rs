//! The platforms whose services join the mesh, as the command line names them.

mod open;
mod reviews;

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ::api::is_dns_label;
use clap::Args;
use registry::Policy;
use registry::kubernetes::IN_CLUSTER;

use super::duration;
use super::failure::{Exit, Failure};
pub use open::Opened;

#[derive(Clone, Debug, Default, Args)]
pub struct Platforms {
    /// A Consul agent whose services join the mesh: http://HOST:PORT?datacenter=…&token-file=…; may be repeated
    #[arg(long, value_name = "URL")]
    consul: Vec<Place>,
    /// A Kubernetes cluster whose services join the mesh: the current context of this file, which names it, or
    /// "in-cluster" in a pod; may be repeated. Configuration is taken from the first cluster
    #[arg(long, value_name = "FILE|in-cluster", value_parser = kubeconfig)]
    kubeconfig: Vec<Place>,
    /// A platform under a name of its own: NAME=consul:URL or NAME=kubernetes:FILE; may be repeated
    #[arg(long, value_name = "NAME=KIND:PLACE")]
    registry: Vec<Named>,
    /// Take out what a platform told once it has been out of reach for that long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    forget_registry_after: Option<Duration>,
    /// Tell in the status of the first cluster's objects what became of them; for one control plane of a cluster
    #[arg(long)]
    write_status: bool,
}

/// What kind of platform; each is one line here and one in `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Consul,
    Kubernetes,
}

const KINDS: [(&str, Kind); 2] = [("consul", Kind::Consul), ("kubernetes", Kind::Kubernetes)];

impl Kind {
    fn place(self, text: &str) -> Result<Place, String> {
        match self {
            Self::Consul => Ok(Place(text.into())),
            Self::Kubernetes => kubeconfig(text),
        }
    }
}

/// Where a platform is. Settings behind a `?` may hold a token, and are not shown.
#[derive(Clone, PartialEq, Eq)]
struct Place(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// None for a cluster that its kubeconfig names.
    name: Option<String>,
    kind: Kind,
    place: Place,
}

impl Platforms {
    /// Makes a registry of each. The order, first those with a flag of their own, is that in which they decide where
    /// they disagree.
    pub async fn open(&self, domain: &str) -> anyhow::Result<Opened> {
        let opened = Opened::of(self.named(), domain, self.write_status).await?;
        let words = "--write-status is for a Kubernetes cluster; name one with --kubeconfig";
        anyhow::ensure!(!self.write_status || opened.has_cluster(), Failure::new(Exit::Usage, words));
        Ok(opened)
    }

    /// Whether all of them can be made, so that a wrong option is told at once.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.open("cluster.local").await.map(drop)
    }

    pub fn policy(&self) -> Policy {
        Policy { forget_after: self.forget_registry_after }
    }

    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let consul = self.consul.iter().map(|place| ["--consul".into(), place.0.clone()]);
        let kubeconfig = self.kubeconfig.iter().map(|place| ["--kubeconfig".into(), place.0.clone()]);
        let registry = self.registry.iter().map(|named| ["--registry".into(), named.to_string()]);
        let forget = self.forget_registry_after.iter();
        let forget = forget.map(|after| ["--forget-registry-after".into(), format!("{}ms", after.as_millis())]);
        let pairs = consul.chain(kubeconfig).chain(registry).chain(forget).flatten();
        pairs.chain(self.write_status.then(|| "--write-status".into())).map(OsString::from).collect()
    }

    /// All of them: `consul`, `consul-2`, the clusters by their contexts' names, and those that are given a name.
    fn named(&self) -> Vec<Named> {
        let numbered = |word: &str, index: usize| match index {
            0 => word.to_owned(),
            _ => format!("{word}-{}", index + 1),
        };
        let consul = self.consul.iter().enumerate().map(|(index, place)| Named {
            name: Some(numbered("consul", index)),
            kind: Kind::Consul,
            place: place.clone(),
        });
        let cluster = |place: &Place| Named { name: None, kind: Kind::Kubernetes, place: place.clone() };
        consul.chain(self.kubeconfig.iter().map(cluster)).chain(self.registry.iter().cloned()).collect()
    }
}

/// A path that stays right in a process that starts elsewhere.
fn kubeconfig(text: &str) -> Result<Place, String> {
    let absolute = |path| std::path::absolute(path).map(|path| path.display().to_string());
    match text {
        IN_CLUSTER => Ok(Place(text.into())),
        path => absolute(path).map(Place).map_err(|error| error.to_string()),
    }
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kinds = KINDS.map(|(word, _)| word).join(", ");
        let form = || format!("give NAME=KIND:PLACE, as in east=consul:http://10.0.0.1:8500; the kinds are {kinds}");
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (word, place) = rest.split_once(':').ok_or_else(form)?;
        let kind = KINDS.into_iter().find(|(known, _)| *known == word).ok_or_else(form)?.1;
        match is_dns_label(name) {
            true => Ok(Self { name: Some(name.into()), kind, place: kind.place(place)? }),
            false => Err(format!("{name:?} is no name: use a-z, 0-9 and -")),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KINDS.into_iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        let name = self.name.as_deref().unwrap_or_default();
        write!(f, "{name}={word}:{}", self.place.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: west
contexts: [{name: west, context: {cluster: west, user: west}}]
clusters: [{name: west, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: west, user: {token: t}}]
";

    fn platforms(consul: &[&str], registry: &[&str]) -> Platforms {
        Platforms {
            kubeconfig: Vec::new(),
            write_status: false,
            consul: consul.iter().map(|url| Place((*url).into())).collect(),
            registry: registry.iter().map(|text| text.parse().unwrap()).collect(),
            forget_registry_after: Some(Duration::from_secs(90)),
        }
    }

    #[test]
    fn options_read_back_as_words() {
        let registries = ["east=consul:https://c:8501?wait=20s", "west=kubernetes:/etc/weft/west.yaml"];
        let mut given = platforms(&["http://c:8500"], &registries);
        given.kubeconfig.push(kubeconfig("in-cluster").unwrap());
        given.write_status = true;
        let words = ["--consul", "http://c:8500", "--kubeconfig", "in-cluster"];
        let named = ["--registry", registries[0], "--registry", registries[1]];
        let rest = ["--forget-registry-after", "90000ms", "--write-status"];
        assert_eq!(given.words(), [&words[..], &named, &rest].concat());
    }

    #[test]
    fn a_registry_that_is_wrong_is_named() {
        let error = |text: &str| text.parse::<Named>().unwrap_err();
        assert!(error("http://c:8500").contains("NAME=KIND:PLACE"));
        assert!(error("east=eureka:http://c").contains("the kinds are"));
        assert!(error("East=consul:http://c").contains("is no name"));
    }

    async fn error(platforms: Platforms) -> String {
        format!("{:#}", platforms.open("cluster.local").await.err().unwrap())
    }

    #[cfg(feature = "consul")]
    #[tokio::test]
    async fn registries_have_names_of_their_own() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("kubeconfig").display().to_string();
        std::fs::write(&file, KUBECONFIG).unwrap();
        let kubernetes = format!("north=kubernetes:{file}");
        let mut given = platforms(&["http://a:8500", "http://b:8500"], &["east=consul:http://c:8500", &kubernetes]);
        given.kubeconfig.push(kubeconfig(&file).unwrap());
        let opened = given.open("cluster.local").await.unwrap();
        assert_eq!(opened.names(), ["consul", "consul-2", "west", "east", "north"]);
        given.kubeconfig.push(kubeconfig(&file).unwrap());
        let opened = given.open("cluster.local").await.unwrap();
        assert_eq!(opened.names(), ["consul", "consul-2", "west", "west-2", "east", "north"]);
        let twice = platforms(&["http://a:8500"], &["consul=consul:http://c:8500"]);
        assert!(error(twice).await.contains("exists already"));
        let wrong = platforms(&["http://a:8500?wiat=1s"], &[]);
        assert!(error(wrong).await.contains("\"wiat\" is no setting"));
    }

    #[tokio::test]
    async fn a_cluster_that_cannot_be_asked_is_told_at_once() {
        let missing = platforms(&[], &["west=kubernetes:/nowhere/kubeconfig"]);
        assert!(error(missing).await.contains("/nowhere/kubeconfig"));
        let without = Platforms { write_status: true, ..Platforms::default() };
        assert!(error(without).await.contains("--kubeconfig"));
    }
}
