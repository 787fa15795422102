package mailbox

// Outcome classes as disposition sees them; the strings are those of package receipt.
const (
	outcomeRecorded    = "recorded"
	outcomeDuplicate   = "duplicate"
	outcomeIgnored     = "ignored"
	outcomeQuarantined = "quarantined"
)

// DispositionOf returns what is to be done to the server's copy of a message with this outcome, and the folder it is
// to be moved to. Octets that could not be had are never disposed of: the caller sees to that.
//
//   - recorded and duplicate: as configured;
//   - ignored: in a forward mailbox as recorded, in a queue only with DeleteIgnored, in a user's never;
//   - quarantined: never deleted; on IMAP moved to the undeliverable folder if there is one.
func (m *Mailbox) DispositionOf(outcome string) (d Disposition, target string) {
	switch outcome {
	case outcomeRecorded, outcomeDuplicate:
		return m.Disposition, m.MoveTo
	case outcomeIgnored:
		if m.Kind == Forward || (m.Kind == Queue && m.DeleteIgnored) {
			return m.Disposition, m.MoveTo
		}
	case outcomeQuarantined:
		if m.Undeliverable != "" && m.Profile != nil && m.Profile.Protocol == IMAP {
			return Move, m.Undeliverable
		}
	}
	return Leave, ""
}
