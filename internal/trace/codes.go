package trace

import (
	"strings"
	"unicode/utf8"
)

// texts holds every code with what it says. {name} is replaced by the argument.
//
//nolint:gochecknoglobals // a table that nothing changes
var texts = map[Code]string{
	"attribution_weak": "sent from inside, but only {kind} says whose mail it is, which anyone inside can write",
	"fetched":          "{octets} octets from {folder}",
	"read":             "read as {media_type} with {parts} parts and {defects} defects",
	"not_fetched":      "not fetched from {folder}: {reason}",
	"stage_panicked":   "a stage failed on it, try {tries}: it is decided again from what is stored",
	"stage_failed":     "a stage could not do its work: it is decided again from what is stored",
	"accepted":         "accepted: the mailbox's filter is {filter}",
	"not_accepted":     "not accepted: {rule}",
	"unresolved":       "the party directory could not be asked: parties are unresolved",
	"class":            "is {class}: {reason}",
	"recorded":         "recorded as activity {activity_id}",
	// record
	"duplicate":         "its e-mail {email_id} was recorded before as activity {activity_id}",
	"upgraded":          "activity {activity_id} now shows this copy, which is better",
	"conflict":          "claims the identity of e-mail {conflict_of} but says something else",
	"deleted":           "the record of its e-mail {email_id} was deleted and does not come back",
	"correlated":        "answers activity {activity_id} by {method}",
	"recipient_gone":    "recipient mailbox {mailbox_id} was deleted meanwhile",
	"too_many_variants": "{variants} messages with other texts claim its identity already",
	"unrecordable":      "the database refused the record",
	"steps_cut":         "{steps} steps are left out",
	// unwrap, attribute, trust
	"original":             "part {path} ({encoding}, {octets} octets) is an original",
	"not_closed":           "the wrapper has no closing boundary, but the original in it is whole",
	"not_cut":              "is a wrapper, but part {path} must not be cut out: {reason}",
	"unwrap_failed":        "could not be unwrapped: {error}",
	"evidence":             "{kind} names mailbox {mailbox_id} ({strength})",
	"token_unknown":        "came to a plus-address whose detail is no mailbox's token",
	"recipient":            "is mail of mailbox {mailbox_id}, by {kind}",
	"not_attributed":       "whose mail it is cannot be said: {reason}, with {evidence} pieces of evidence",
	"trusted":              "is trusted, by {method}",
	"untrusted":            "is not trusted: nothing authenticates it",
	"trust_warn":           "is accepted although nothing authenticates it: the policy only warns",
	"trust_off":            "is accepted without a check: the policy is off",
	"no_recipient":         "cannot be authenticated without a recipient mailbox",
	"header_not_whole":     "has more header fields than are read, so none of them authenticates it",
	"from_ambiguous":       "has not exactly one sender",
	"results_absent":       "has no Authentication-Results of {authserv_id} above the Received of our own mail exchanger",
	"results_no_pass":      "Authentication-Results of {authserv_id} has no pass for {domain}",
	"results_pass":         "Authentication-Results of {authserv_id}: {method} passes for {domain}",
	"sender_not_recipient": "the authenticated sender {from} is no address of the recipient mailbox",
	"authas_internal":      "Exchange says that the sender is internal",
	"authas_not_internal":  "Exchange does not say that the sender is internal",
	"authas_twice":         "has several X-MS-Exchange-Organization-AuthAs fields: one is forged",
}

// Text returns what the step says.
func (s Step) Text() string {
	text, ok := texts[s.Code]
	if !ok {
		text = string(s.Code)
	}
	for name, value := range s.Args {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// Known reports whether code is in the list.
func Known(code Code) bool {
	_, ok := texts[code]
	return ok
}

// cut makes value fit an argument: valid UTF-8, no NUL, at most ArgOctets and "…".
func cut(value string) string {
	value = strings.ReplaceAll(strings.ToValidUTF8(value, "\uFFFD"), "\x00", "\uFFFD")
	if len(value) <= ArgOctets {
		return value
	}
	n := ArgOctets
	for !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n] + "…"
}
