package config

import "fmt"

// FromDefault is Value.From of a key that is set nowhere.
const FromDefault = "default"

// Value is a key with its effective value.
type Value struct {
	Key   string `json:"key"`
	Value string `json:"value"` // as it is written in the file; passwords are not shown
	From  string `json:"from"`  // "default", "postroom.yaml:12" or "$POSTROOM_LOG_LEVEL"
}

// Values returns every key with its effective value and where that comes from, in the order of Config's fields.
func (c *Config) Values() []Value {
	all := leaves(c)
	list := make([]Value, len(all))
	for i, l := range all {
		list[i] = Value{Key: l.key, Value: fmt.Sprint(l.value.Interface()), From: FromDefault}
		if l.key == "database.url" {
			list[i].Value = redactURL(list[i].Value)
		}
		if from, ok := c.origins[l.key]; ok {
			list[i].From = from
		}
	}
	return list
}
