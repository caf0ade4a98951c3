//! All rules.

use super::Rule;
use super::object_rules::{DESTINATION, SOURCE};
use super::service_rules::SERVICES;

/// The rules by service, in the order of policies.
const RULES: &[&[Rule]] = &[SOURCE, DESTINATION, SERVICES];

/// Returns all rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;
    use crate::operation::Operation;

    /// All operations. The match fails to compile when one is added.
    fn operations() -> Vec<Operation> {
        use Operation::{
            AbortUpload, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteMessage, DeleteObject, GetItem,
            GetNotifications, GetObject, GetTags, GetVersioning, HeadObject, ListObjects, ListParts, ListUploads,
            ListVersions, MeasureQueue, PutNotifications, PutObject, PutPart, PutTags, QueryItems, ReceiveDeadLetters,
            ReceiveMessages, SendDeadLetter, SendMessages, SetVisibility, WriteItems,
        };
        let next = |operation| match operation {
            ListObjects => Some(ListVersions),
            ListVersions => Some(GetObject),
            GetObject => Some(HeadObject),
            HeadObject => Some(GetTags),
            GetTags => Some(PutTags),
            PutTags => Some(PutObject),
            PutObject => Some(CopyObject),
            CopyObject => Some(DeleteObject),
            DeleteObject => Some(CreateUpload),
            CreateUpload => Some(PutPart),
            PutPart => Some(CopyPart),
            CopyPart => Some(ListParts),
            ListParts => Some(CompleteUpload),
            CompleteUpload => Some(AbortUpload),
            AbortUpload => Some(ListUploads),
            ListUploads => Some(GetNotifications),
            GetNotifications => Some(PutNotifications),
            PutNotifications => Some(GetVersioning),
            GetVersioning => Some(SendMessages),
            SendMessages => Some(ReceiveMessages),
            ReceiveMessages => Some(SetVisibility),
            SetVisibility => Some(DeleteMessage),
            DeleteMessage => Some(SendDeadLetter),
            SendDeadLetter => Some(ReceiveDeadLetters),
            ReceiveDeadLetters => Some(MeasureQueue),
            MeasureQueue => Some(GetItem),
            GetItem => Some(QueryItems),
            QueryItems => Some(WriteItems),
            WriteItems => None,
        };
        std::iter::successors(Some(ListObjects), |operation| next(*operation)).collect()
    }

    #[test]
    fn every_operation_has_a_rule() {
        let operations = operations();
        assert_eq!(operations.len(), 29);
        for operation in operations {
            assert!(all().any(|rule| rule.requests.contains(&Request::Port(operation))), "{operation}");
        }
    }

    #[test]
    fn each_rule_has_requests_and_a_reason_and_stands_once() {
        let rules: Vec<_> = all().collect();
        for (place, rule) in rules.iter().enumerate() {
            assert!(!rule.requests.is_empty() && !rule.reason.is_empty(), "{rule:?}");
            let same = |other: &&&Rule| (other.part, other.action, other.kind) == (rule.part, rule.action, rule.kind);
            assert_eq!(rules[place..].iter().filter(same).count(), 1, "{rule:?}");
        }
    }
}
