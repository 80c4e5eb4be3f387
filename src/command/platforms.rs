//! The platforms whose services join the mesh, as the command line names them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ::api::is_dns_label;
use anyhow::Context as _;
use clap::Args;
use registry::{Policy, Registry, Remembered};
use store::Store;

use super::duration;
use super::failure::{Exit, Failure};

#[derive(Clone, Debug, Default, Args)]
pub struct Platforms {
    /// A Consul agent whose services join the mesh: http://HOST:PORT?datacenter=…&token-file=…; may be repeated
    #[arg(long, value_name = "URL")]
    consul: Vec<Place>,
    /// A platform under a name of its own: NAME=consul:URL; may be repeated
    #[arg(long, value_name = "NAME=KIND:PLACE")]
    registry: Vec<Named>,
    /// Take out what a platform told once it has been out of reach for that long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    forget_registry_after: Option<Duration>,
}

/// What kind of platform; each is one line here and one in `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Consul,
}

const KINDS: [(&str, Kind); 1] = [("consul", Kind::Consul)];

/// Where a platform is. Settings behind a `?` may hold a token, and are not shown.
#[derive(Clone, PartialEq, Eq)]
struct Place(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    kind: Kind,
    place: Place,
}

/// Names that registries of our own have.
const TAKEN: [&str; 3] = ["static", "agents", "discovery"];

impl Platforms {
    /// Makes a registry of each. The order, first those with a flag of their own, is that in which they decide where
    /// they disagree.
    pub fn open(&self, domain: &str) -> anyhow::Result<Vec<Arc<dyn Registry>>> {
        let mut taken: BTreeSet<String> = TAKEN.map(str::to_owned).into();
        let mut opened = Vec::new();
        for named in self.named() {
            let name = &named.name;
            let wrong = |words: String| Failure::new(Exit::Usage, words);
            anyhow::ensure!(taken.insert(name.clone()), wrong(format!("a registry {name:?} exists already")));
            let registry = open(&named, domain);
            opened.push(registry.with_context(|| wrong(format!("registry {name}")))?);
        }
        Ok(opened)
    }

    /// The same, each with what it told before this process began.
    pub fn open_remembered(&self, domain: &str, store: &Arc<dyn Store>) -> anyhow::Result<Vec<Arc<dyn Registry>>> {
        let remembered = |registry| -> Arc<dyn Registry> { Arc::new(Remembered::new(registry, store.clone())) };
        Ok(self.open(domain)?.into_iter().map(remembered).collect())
    }

    /// Whether all of them can be made, so that a wrong option is told at once.
    pub fn check(&self) -> anyhow::Result<()> {
        self.open("cluster.local").map(drop)
    }

    pub fn policy(&self) -> Policy {
        Policy { forget_after: self.forget_registry_after }
    }

    /// The same options as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let consul = self.consul.iter().flat_map(|place| ["--consul".into(), place.0.clone()]);
        let registry = self.registry.iter().flat_map(|named| ["--registry".into(), named.to_string()]);
        let forget = self.forget_registry_after.iter();
        let forget = forget.flat_map(|after| ["--forget-registry-after".into(), format!("{}ms", after.as_millis())]);
        consul.chain(registry).chain(forget).map(OsString::from).collect()
    }

    /// All of them by name: `consul`, `consul-2`, and those that have one.
    fn named(&self) -> Vec<Named> {
        let numbered = |word: &str, index: usize| match index {
            0 => word.to_owned(),
            _ => format!("{word}-{}", index + 1),
        };
        let consul = self.consul.iter().enumerate().map(|(index, place)| Named {
            name: numbered("consul", index),
            kind: Kind::Consul,
            place: place.clone(),
        });
        consul.chain(self.registry.iter().cloned()).collect()
    }
}

fn open(named: &Named, domain: &str) -> anyhow::Result<Arc<dyn Registry>> {
    match named.kind {
        #[cfg(feature = "consul")]
        Kind::Consul => {
            let environment = registry::ConsulEnvironment::of_process();
            let options = registry::ConsulOptions::parse(&named.place.0, &environment)?;
            Ok(Arc::new(registry::Consul::open(&named.name, domain, options)?))
        }
        #[cfg(not(feature = "consul"))]
        Kind::Consul => {
            let _ = (&named.place, domain);
            anyhow::bail!("this weft is built without the feature \"consul\"")
        }
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
            true => Ok(Self { name: name.into(), kind, place: Place(place.into()) }),
            false => Err(format!("{name:?} is no name: use a-z, 0-9 and -")),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = KINDS.into_iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        write!(f, "{}={word}:{}", self.name, self.place.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(consul: &[&str], registry: &[&str]) -> Platforms {
        Platforms {
            consul: consul.iter().map(|url| Place((*url).into())).collect(),
            registry: registry.iter().map(|text| text.parse().unwrap()).collect(),
            forget_registry_after: Some(Duration::from_secs(90)),
        }
    }

    #[test]
    fn options_read_back_as_words() {
        let given = platforms(&["http://c:8500"], &["east=consul:https://c:8501?wait=20s"]);
        let words = ["--consul", "http://c:8500", "--registry", "east=consul:https://c:8501?wait=20s"];
        assert_eq!(given.words(), [&words[..], &["--forget-registry-after", "90000ms"]].concat());
    }

    #[test]
    fn a_registry_that_is_wrong_is_named() {
        let error = |text: &str| text.parse::<Named>().unwrap_err();
        assert!(error("http://c:8500").contains("NAME=KIND:PLACE"));
        assert!(error("east=eureka:http://c").contains("the kinds are"));
        assert!(error("East=consul:http://c").contains("is no name"));
    }

    #[cfg(feature = "consul")]
    #[test]
    fn registries_have_names_of_their_own() {
        let names = |platforms: Platforms| -> Vec<String> {
            let opened = platforms.open("cluster.local").unwrap();
            opened.iter().map(|registry| registry.name().to_owned()).collect()
        };
        let given = platforms(&["http://a:8500", "http://b:8500"], &["east=consul:http://c:8500"]);
        assert_eq!(names(given), ["consul", "consul-2", "east"]);
        let twice = platforms(&["http://a:8500"], &["consul=consul:http://c:8500"]);
        assert!(twice.open("cluster.local").err().unwrap().to_string().contains("exists already"));
        let wrong = platforms(&["http://a:8500?wiat=1s"], &[]);
        assert!(format!("{:#}", wrong.open("cluster.local").err().unwrap()).contains("\"wiat\" is no setting"));
    }
}
