// Answers, for each line of JSON, what structured-merge-diff makes of a write: the judge of sampan.apiserver.managers.
// Its argument is a file with the schema that client-go carries.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

type owner struct {
	Set     json.RawMessage `json:"set"`
	Applied bool            `json:"applied"`
}

type write struct {
	Type     string           `json:"type"`
	Live     any              `json:"live"`
	Object   any              `json:"object"`
	Managers map[string]owner `json:"managers"`
	Manager  string           `json:"manager"`
	Apply    bool             `json:"apply"`
	Force    bool             `json:"force"`
}

type answer struct {
	Object    any              `json:"object"`
	Managers  map[string]owner `json:"managers"`
	Conflicts []string         `json:"conflicts"`
	Error     string           `json:"error"`
}

// There is one version of everything, so nothing is ever converted.
type same struct{}

func (same) Convert(v *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) { return v, nil }
func (same) IsMissingVersionError(error) bool                                                { return false }

func judge(parser *typed.Parser, w write) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a.Error = fmt.Sprint(r)
		}
	}()
	kind := parser.Type(w.Type)
	live, err := kind.FromUnstructured(w.Live, typed.AllowDuplicates)
	if err != nil {
		return answer{Error: "live: " + err.Error()}
	}
	object, err := kind.FromUnstructured(w.Object)
	if err != nil {
		return answer{Error: err.Error()}
	}
	managers := fieldpath.ManagedFields{}
	for name, o := range w.Managers {
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(o.Set)); err != nil {
			return answer{Error: err.Error()}
		}
		managers[name] = fieldpath.NewVersionedSet(set, "v1", o.Applied)
	}
	updater := (&merge.UpdaterBuilder{Converter: same{}}).BuildUpdater()
	var result *typed.TypedValue
	if w.Apply {
		result, managers, err = updater.Apply(live, object, "v1", managers, w.Manager, w.Force)
	} else {
		result, managers, err = updater.Update(live, object, "v1", managers, w.Manager)
	}
	if conflicts, ok := err.(merge.Conflicts); ok {
		for _, c := range conflicts {
			a.Conflicts = append(a.Conflicts, c.Manager+" "+c.Path.String())
		}
		return a
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	if result != nil {
		a.Object = result.AsValue().Unstructured()
	}
	a.Managers = map[string]owner{}
	for name, set := range managers {
		data, err := set.Set().ToJSON()
		if err != nil {
			return answer{Error: err.Error()}
		}
		a.Managers[name] = owner{data, set.Applied()}
	}
	return a
}

func main() {
	schema, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	parser, err := typed.NewParser(typed.YAMLObject(schema))
	if err != nil {
		panic(err)
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var w write
		if in.Decode(&w) != nil {
			return
		}
		if err := out.Encode(judge(parser, w)); err != nil {
			panic(err)
		}
	}
}
