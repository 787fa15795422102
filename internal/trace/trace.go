// Package trace holds the steps of a decision: each stage of the pipeline adds (stage, code, arguments). Codes are a
// closed list; text is made when a trace is shown.
//
// A trace holds ids, addresses, host names and counts; never a subject, a body, a file name or a secret.
package trace

// Step is one thing that a stage found or decided.
type Step struct {
	Stage Stage             `json:"stage"`
	Code  Code              `json:"code"`
	Args  map[string]string `json:"args,omitempty"`
	Item  int               `json:"item,omitempty"` // ordinal of the original it is about; 0: the message as a whole
}

// Stage is a stage of the pipeline.
type Stage string

// The stages, in their order.
const (
	Fetch     Stage = "fetch"
	Read      Stage = "read"
	Classify  Stage = "classify"
	Unwrap    Stage = "unwrap"
	Trust     Stage = "trust"
	Attribute Stage = "attribute"
	Accept    Stage = "accept"
	Correlate Stage = "correlate"
	Resolve   Stage = "resolve"
	Record    Stage = "record"
)

// Code names what happened. Every code stands in the table of codes.go with its text.
type Code string

// ArgOctets is the longest value an argument keeps; a longer one is cut and ends in "…".
const ArgOctets = 128

// Trace is the steps of one message, in order.
type Trace []Step

// Add appends a step. Args come in pairs of name and value; values longer than ArgOctets are cut.
func (t *Trace) Add(stage Stage, code Code, args ...string) { t.AddItem(0, stage, code, args...) }

// AddItem is Add for a step about the original with this ordinal.
func (t *Trace) AddItem(item int, stage Stage, code Code, args ...string) {
	s := Step{Stage: stage, Code: code, Item: item}
	for i := 0; i+1 < len(args); i += 2 {
		if s.Args == nil {
			s.Args = make(map[string]string, len(args)/2)
		}
		s.Args[args[i]] = cut(args[i+1])
	}
	*t = append(*t, s)
}
