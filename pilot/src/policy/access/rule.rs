//! One rule: permissions for what is asked, principals for who asks; conditions belong to one or the other.

use api::envoy::config::rbac::v3 as rbac;
use galley::kinds::{AccessAction, AccessOperation, AccessRule, AccessSource};
use rbac::{Permission, Principal};

use super::term::Terms;
use super::{Speech, operation, source};
use crate::mesh::MeshConfig;

pub(super) struct Rule<'a> {
    pub rule: &'a AccessRule,
    /// The policy's.
    pub namespace: &'a str,
    pub mesh: &'a MeshConfig,
    pub speech: Speech,
    pub action: AccessAction,
}

impl Rule<'_> {
    /// Where something that only HTTP has cannot be looked at, a rule that allows is left out altogether: it would
    /// allow more than it says. Others hold for what is left of them: they would deny less.
    pub fn compile(&self) -> Option<rbac::Policy> {
        let mut left_out = false;
        let anything = [AccessOperation::default()];
        let operations = if self.rule.to.is_empty() { &anything[..] } else { &self.rule.to };
        let permissions = operations.iter().map(|operation| self.permission(operation, &mut left_out)).collect();
        let anyone = [AccessSource::default()];
        let sources = if self.rule.from.is_empty() { &anyone[..] } else { &self.rule.from };
        let principals = sources.iter().map(|source| self.principal(source, &mut left_out)).collect();
        let dropped = left_out && self.action == AccessAction::Allow;
        (!dropped).then(|| rbac::Policy { permissions, principals, ..Default::default() })
    }

    fn permission(&self, operation: &AccessOperation, left_out: &mut bool) -> Permission {
        let mut terms = Terms::new(self.speech);
        operation::add(operation, &mut terms);
        self.rule.when.iter().for_each(|condition| operation::add_condition(condition, &mut terms));
        *left_out |= terms.left_out;
        terms.all()
    }

    fn principal(&self, source: &AccessSource, left_out: &mut bool) -> Principal {
        let mut terms = Terms::new(self.speech);
        source::add(source, self, &mut terms);
        self.rule.when.iter().for_each(|condition| source::add_condition(condition, self, &mut terms));
        *left_out |= terms.left_out;
        terms.all()
    }
}
