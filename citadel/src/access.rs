//! What the holder of an API token may do: a role, narrowed by scopes. Pure: everything that is not allowed is refused.

use serde::{Deserialize, Serialize};

/// What somebody is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    #[default]
    Viewer,
    /// Looks, changes traffic, watches requests.
    Operator,
    /// Looks, changes who may talk to whom, admits and evicts workloads, reads the audit log.
    Security,
    /// Everything.
    Admin,
}

/// What can be done. Those after `delete` are never part of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Read,
    /// Create or change.
    Write,
    Delete,
    /// See what a dump of configuration hides.
    InspectSecrets,
    /// Watch live requests.
    Tap,
    IssueJoinToken,
    /// Throw a workload out.
    Evict,
    RotateCa,
    /// Overwrite without saying what is overwritten.
    Force,
    ReadAudit,
    /// Make and revoke the tokens of this API.
    ManageAccess,
}

impl Verb {
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::InspectSecrets,
        Self::Tap,
        Self::IssueJoinToken,
        Self::Evict,
        Self::RotateCa,
        Self::Force,
        Self::ReadAudit,
        Self::ManageAccess,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::InspectSecrets => "inspect-secrets",
            Self::Tap => "tap",
            Self::IssueJoinToken => "issue-join-token",
            Self::Evict => "evict",
            Self::RotateCa => "rotate-ca",
            Self::Force => "force",
            Self::ReadAudit => "read-audit",
            Self::ManageAccess => "manage-access",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == word)
    }
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Security, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Security => "security",
            Self::Admin => "admin",
        }
    }

    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether the role has the verb for a kind; `kind` is empty for what is no configuration.
    fn has(self, verb: Verb, kind: &str) -> bool {
        let changes = matches!(verb, Verb::Write | Verb::Delete);
        match self {
            Self::Admin => true,
            Self::Viewer => verb == Verb::Read,
            Self::Operator => match changes {
                true => !kind.is_empty() && !is_of_security(kind) && kind != OF_ALL,
                false => matches!(verb, Verb::Read | Verb::Tap),
            },
            Self::Security => match changes {
                true => is_of_security(kind),
                false => {
                    use Verb::{Evict, InspectSecrets, IssueJoinToken, Read, ReadAudit, RotateCa};
                    matches!(verb, Read | Evict | InspectSecrets | IssueJoinToken | ReadAudit | RotateCa)
                }
            },
        }
    }
}

/// The kind that holds for the whole mesh: who decides about access, how paths are read, which files proxies write.
const OF_ALL: &str = "MeshConfig";

/// The kinds that say who may talk to whom.
fn is_of_security(kind: &str) -> bool {
    ["PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy"].contains(&kind)
}

/// What a role is narrowed to; an empty list narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scopes {
    pub verbs: Vec<Verb>,
    /// Kinds of configuration by name: `VirtualService`.
    pub kinds: Vec<String>,
    pub namespaces: Vec<String>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    pub verb: Verb,
    /// Of configuration; none for everything else.
    pub kind: Option<&'a str>,
    /// None for what is of the whole mesh.
    pub namespace: Option<&'a str>,
}

/// Role and scopes of one caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub role: Role,
    #[serde(default)]
    pub scopes: Scopes,
}

impl Access {
    pub fn of(role: Role) -> Self {
        Self { role, scopes: Scopes::default() }
    }

    /// The error says what is missing.
    pub fn check(&self, wish: &Wish<'_>) -> Result<(), String> {
        let verb = wish.verb.as_str();
        let what = wish.kind.map_or_else(String::new, |kind| format!(" {kind}"));
        if !self.role.has(wish.verb, wish.kind.unwrap_or_default()) {
            let able = Role::ALL.into_iter().find(|role| role.has(wish.verb, wish.kind.unwrap_or_default()));
            let able = able.map_or("no", Role::as_str);
            return Err(format!("the role {} may not {verb}{what}; the role {able} may", self.role.as_str()));
        }
        let Scopes { verbs, kinds, namespaces } = &self.scopes;
        if !verbs.is_empty() && !verbs.contains(&wish.verb) {
            return Err(format!("the token's scopes do not have the verb {verb}"));
        }
        if !kinds.is_empty() && !wish.kind.is_some_and(|kind| kinds.iter().any(|known| known == kind)) {
            return Err(format!("the token is for the kinds {} only", kinds.join(", ")));
        }
        if namespaces.is_empty() || wish.namespace.is_some_and(|namespace| namespaces.iter().any(|n| n == namespace)) {
            return Ok(());
        }
        let listed = namespaces.join(", ");
        Err(match wish.namespace {
            Some(namespace) => format!("the token is for the namespaces {listed}, not {namespace}"),
            None => format!("the token is for the namespaces {listed}, and this is of the whole mesh"),
        })
    }

    /// Whether everything this allows, another allows too: nobody gives away more than they have.
    pub fn is_within(&self, other: &Access) -> bool {
        let within = |ours: &[String], theirs: &[String]| {
            theirs.is_empty() || (!ours.is_empty() && ours.iter().all(|one| theirs.contains(one)))
        };
        let verbs = |scopes: &Scopes| scopes.verbs.iter().map(|verb| verb.as_str().to_owned()).collect::<Vec<_>>();
        let role = other.role == Role::Admin || other.role == self.role || self.role == Role::Viewer;
        role && within(&verbs(&self.scopes), &verbs(&other.scopes))
            && within(&self.scopes.kinds, &other.scopes.kinds)
            && within(&self.scopes.namespaces, &other.scopes.namespaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>(verb: Verb, kind: &'a str, namespace: &'a str) -> Wish<'a> {
        let some = |word: &'a str| (!word.is_empty()).then_some(word);
        Wish { verb, kind: some(kind), namespace: some(namespace) }
    }

    fn may(role: Role, verb: Verb, kind: &str) -> bool {
        Access::of(role).check(&wish(verb, kind, "default")).is_ok()
    }

    #[test]
    fn each_role_has_its_verbs_and_no_other() {
        for verb in Verb::ALL {
            assert!(may(Role::Admin, verb, ""));
            assert_eq!(may(Role::Viewer, verb, ""), verb == Verb::Read, "{verb:?}");
            assert_eq!(may(Role::Operator, verb, ""), [Verb::Read, Verb::Tap].contains(&verb), "{verb:?}");
            assert_eq!(Verb::named(verb.as_str()), Some(verb));
        }
        assert!(may(Role::Operator, Verb::Write, "VirtualService"));
        assert!(!may(Role::Operator, Verb::Write, "PeerAuthentication"));
        assert!([Role::Operator, Role::Security].iter().all(|role| !may(*role, Verb::Write, "MeshConfig")));
        assert!(may(Role::Admin, Verb::Write, "MeshConfig"));
        assert!(may(Role::Security, Verb::Delete, "PeerAuthentication"));
        assert!(!may(Role::Security, Verb::Write, "VirtualService"));
        assert!(may(Role::Security, Verb::IssueJoinToken, "") && !may(Role::Security, Verb::ManageAccess, ""));
    }

    #[test]
    fn scopes_narrow_and_what_is_of_the_whole_mesh_is_in_no_namespace() {
        let scopes = Scopes {
            verbs: vec![Verb::Read, Verb::Write],
            kinds: vec!["VirtualService".into()],
            namespaces: vec!["shop".into()],
        };
        let access = Access { role: Role::Admin, scopes };
        assert_eq!(access.check(&wish(Verb::Write, "VirtualService", "shop")), Ok(()));
        let refused = |verb, kind, namespace| access.check(&wish(verb, kind, namespace)).unwrap_err();
        assert!(refused(Verb::Delete, "VirtualService", "shop").contains("verb delete"));
        assert!(refused(Verb::Read, "Gateway", "shop").contains("kinds VirtualService only"));
        assert!(refused(Verb::Read, "", "").contains("kinds"));
        assert!(refused(Verb::Read, "VirtualService", "").contains("whole mesh"));
        assert!(refused(Verb::Read, "VirtualService", "default").contains("not default"));
    }

    #[test]
    fn nobody_gives_away_more_than_they_have() {
        let narrow = |namespaces: &[&str]| Access {
            role: Role::Admin,
            scopes: Scopes { namespaces: namespaces.iter().map(ToString::to_string).collect(), ..Scopes::default() },
        };
        let all = Access::of(Role::Admin);
        assert!(narrow(&["a"]).is_within(&all) && all.is_within(&all));
        assert!(!all.is_within(&narrow(&["a"])));
        assert!(!narrow(&["a", "b"]).is_within(&narrow(&["a"])));
        assert!(!Access::of(Role::Security).is_within(&Access::of(Role::Operator)));
    }
}
