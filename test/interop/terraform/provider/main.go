// A Terraform provider without AWS, for tests: it has the schemas of the real providers (schema.json), and answers what
// AWS computes with ARNs and names of the right form. `terraform validate`, `plan` and `apply` then run over the whole
// module. Of archive_file and external, whose results the module reads, it does the real work.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const (
	account = "123456789012"
	region  = "eu-central-1"
)

//go:embed schema.json
var schemas []byte

type attribute struct {
	Type     json.RawMessage `json:"type"`
	Required bool            `json:"required"`
	Optional bool            `json:"optional"`
	Computed bool            `json:"computed"`
}

type nested struct {
	NestingMode string `json:"nesting_mode"`
	MinItems    int64  `json:"min_items"`
	MaxItems    int64  `json:"max_items"`
	Block       block  `json:"block"`
}

type block struct {
	Attributes map[string]attribute `json:"attributes"`
	BlockTypes map[string]nested    `json:"block_types"`
}

type providerSchema struct {
	Provider    block            `json:"provider"`
	Resources   map[string]block `json:"resources"`
	DataSources map[string]block `json:"data_sources"`
}

func names[V any](of map[string]V) []string {
	all := make([]string, 0, len(of))
	for name := range of {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

func (b block) schema() *tfprotov5.SchemaBlock {
	result := &tfprotov5.SchemaBlock{}
	for _, name := range names(b.Attributes) {
		a := b.Attributes[name]
		kind, err := tftypes.ParseJSONType(a.Type) //nolint:staticcheck
		if err != nil {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
		result.Attributes = append(result.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: kind, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
		})
	}
	modes := map[string]tfprotov5.SchemaNestedBlockNestingMode{
		"list": tfprotov5.SchemaNestedBlockNestingModeList, "set": tfprotov5.SchemaNestedBlockNestingModeSet,
		"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
	}
	for _, name := range names(b.BlockTypes) {
		n := b.BlockTypes[name]
		result.BlockTypes = append(result.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Nesting: modes[n.NestingMode], MinItems: n.MinItems, MaxItems: n.MaxItems, Block: n.Block.schema(),
		})
	}
	return result
}

func (b block) kind() tftypes.Type {
	return (&tfprotov5.Schema{Block: b.schema()}).ValueType()
}

type server struct {
	tfprotov5.ProviderServer
	own providerSchema
}

func (s *server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	response := &tfprotov5.GetMetadataResponse{}
	for _, name := range names(s.own.Resources) {
		response.Resources = append(response.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for _, name := range names(s.own.DataSources) {
		response.DataSources = append(response.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return response, nil
}

func (s *server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	response := &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: s.own.Provider.schema()},
		ResourceSchemas:   map[string]*tfprotov5.Schema{},
		DataSourceSchemas: map[string]*tfprotov5.Schema{},
	}
	for name, b := range s.own.Resources {
		response.ResourceSchemas[name] = &tfprotov5.Schema{Block: b.schema()}
	}
	for name, b := range s.own.DataSources {
		response.DataSourceSchemas[name] = &tfprotov5.Schema{Block: b.schema()}
	}
	return response, nil
}

func (s *server) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (s *server) PrepareProviderConfig(_ context.Context, request *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: request.Config}, nil
}

func (s *server) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (s *server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (s *server) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (s *server) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (s *server) UpgradeResourceState(_ context.Context, request *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	kind := s.own.Resources[request.TypeName].kind()
	value, err := request.RawState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov5.NewDynamicValue(kind, value)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &state}, err
}

func (s *server) ReadResource(_ context.Context, request *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: request.CurrentState}, nil
}

func (s *server) PlanResourceChange(_ context.Context, request *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	own := s.own.Resources[request.TypeName]
	kind := own.kind()
	proposed, err := request.ProposedNewState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	if proposed.IsNull() {
		return &tfprotov5.PlanResourceChangeResponse{PlannedState: request.ProposedNewState}, nil
	}
	planned, err := own.fill(proposed, func(name string, kind tftypes.Type) tftypes.Value {
		return tftypes.NewValue(kind, tftypes.UnknownValue)
	}, false)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov5.NewDynamicValue(kind, planned)
	return &tfprotov5.PlanResourceChangeResponse{PlannedState: &state}, err
}

func (s *server) ApplyResourceChange(_ context.Context, request *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	own := s.own.Resources[request.TypeName]
	kind := own.kind()
	planned, err := request.PlannedState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	if planned.IsNull() {
		return &tfprotov5.ApplyResourceChangeResponse{NewState: request.PlannedState}, nil
	}
	made, err := own.fill(planned, func(name string, kind tftypes.Type) tftypes.Value {
		return computed(request.TypeName, text(planned, "name"), text(planned, "function_name"), name, kind)
	}, true)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov5.NewDynamicValue(kind, made)
	return &tfprotov5.ApplyResourceChangeResponse{NewState: &state}, err
}

// Puts a value where the schema says that the provider computes one: for a missing value, or only for an unknown one.
func (b block) fill(value tftypes.Value, with func(string, tftypes.Type) tftypes.Value, onlyUnknown bool) (tftypes.Value, error) {
	if value.IsNull() || !value.IsKnown() {
		return value, nil
	}
	members := map[string]tftypes.Value{}
	if err := value.As(&members); err != nil {
		return value, err
	}
	for name, a := range b.Attributes {
		member := members[name]
		if a.Computed && (!member.IsKnown() || (!onlyUnknown && member.IsNull())) {
			members[name] = with(name, member.Type())
		}
	}
	for name, n := range b.BlockTypes {
		items := []tftypes.Value{}
		if n.NestingMode == "single" || members[name].IsNull() || !members[name].IsKnown() {
			continue
		}
		if err := members[name].As(&items); err != nil {
			return value, err
		}
		for index, item := range items {
			filled, err := n.Block.fill(item, with, onlyUnknown)
			if err != nil {
				return value, err
			}
			items[index] = filled
		}
		members[name] = tftypes.NewValue(members[name].Type(), items)
	}
	return tftypes.NewValue(value.Type(), members), nil
}

func text(value tftypes.Value, name string) string {
	members := map[string]tftypes.Value{}
	if value.As(&members) != nil || members[name].IsNull() || !members[name].IsKnown() {
		return ""
	}
	var result string
	if members[name].As(&result) != nil {
		return ""
	}
	return result
}

// What AWS would answer for an attribute.
func computed(kind, name, function, attribute string, of tftypes.Type) tftypes.Value {
	arn := func(service, rest string) string {
		return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, region, account, rest)
	}
	arns := map[string]string{
		"aws_kms_key":               arn("kms", "key/11111111-2222-3333-4444-555555555555"),
		"aws_secretsmanager_secret": arn("secretsmanager", "secret:"+name+"-AbCdEf"),
		"aws_lambda_function":       arn("lambda", "function:"+function),
		"aws_sqs_queue":             arn("sqs", name),
		"aws_sns_topic":             arn("sns", name),
		"aws_cloudwatch_event_rule": arn("events", "rule/"+name),
		"aws_cloudwatch_log_group":  arn("logs", "log-group:"+name),
		"aws_iam_role":              fmt.Sprintf("arn:aws:iam::%s:role/%s", account, name),
		"aws_iam_policy":            fmt.Sprintf("arn:aws:iam::%s:policy/%s", account, name),
	}
	ids := map[string]string{
		"aws_secretsmanager_secret": arns[kind],
		"aws_sqs_queue":             fmt.Sprintf("https://sqs.%s.amazonaws.com/%s/%s", region, account, name),
		"aws_iam_role":              name,
	}
	result := kind + "." + attribute
	switch {
	case attribute == "id" && ids[kind] == "" && name != "":
		result = kind + ":" + name
	case attribute == "arn" && arns[kind] != "":
		result = arns[kind]
	case attribute == "id" && ids[kind] != "":
		result = ids[kind]
	case attribute == "key_id":
		result = "11111111-2222-3333-4444-555555555555"
	case attribute == "function_url":
		result = "https://abcdefgh.lambda-url." + region + ".on.aws/"
	case attribute == "region":
		result = region
	}
	switch {
	case of.Is(tftypes.String):
		return tftypes.NewValue(of, result)
	case of.Is(tftypes.Number):
		return tftypes.NewValue(of, big.NewFloat(0))
	case of.Is(tftypes.Bool):
		return tftypes.NewValue(of, false)
	case of.Is(tftypes.Map{}):
		return tftypes.NewValue(of, map[string]tftypes.Value{})
	case of.Is(tftypes.List{}) && attribute == "dns_entry":
		entry := of.(tftypes.List).ElementType
		return tftypes.NewValue(of, []tftypes.Value{tftypes.NewValue(entry, map[string]tftypes.Value{
			"dns_name":       tftypes.NewValue(tftypes.String, "vpce-0abc.secretsmanager."+region+".vpce.amazonaws.com"),
			"hosted_zone_id": tftypes.NewValue(tftypes.String, "Z0ABC"),
		})})
	case of.Is(tftypes.List{}), of.Is(tftypes.Set{}):
		return tftypes.NewValue(of, []tftypes.Value{})
	}
	panic(fmt.Sprintf("%s.%s has a type that the tests do not know: %s", kind, attribute, of))
}

func (s *server) ReadDataSource(_ context.Context, request *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	own := s.own.DataSources[request.TypeName]
	kind := own.kind()
	config, err := request.Config.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	results, err := read(request.TypeName, config)
	if err != nil {
		return &tfprotov5.ReadDataSourceResponse{Diagnostics: []*tfprotov5.Diagnostic{{
			Severity: tfprotov5.DiagnosticSeverityError, Summary: request.TypeName + " failed", Detail: err.Error(),
		}}}, nil
	}
	read, err := own.fill(config, func(name string, kind tftypes.Type) tftypes.Value {
		if result, found := results[name]; found {
			return tftypes.NewValue(kind, result)
		}
		return tftypes.NewValue(kind, nil)
	}, false)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov5.NewDynamicValue(kind, read)
	return &tfprotov5.ReadDataSourceResponse{State: &state}, err
}

func read(kind string, config tftypes.Value) (map[string]any, error) {
	switch kind {
	case "aws_caller_identity":
		return map[string]any{"account_id": account, "id": account, "arn": "arn:aws:iam::" + account + ":user/deployer", "user_id": "A"}, nil
	case "aws_partition":
		return map[string]any{"partition": "aws", "id": "aws", "dns_suffix": "amazonaws.com", "reverse_dns_prefix": "com.amazonaws"}, nil
	case "aws_region":
		return map[string]any{"region": region, "id": region, "name": region, "description": region, "endpoint": ""}, nil
	case "archive_file":
		return writeZip(config)
	case "external":
		return runProgram(config)
	}
	return nil, fmt.Errorf("the tests do not know the data source %s", kind)
}

func writeZip(config tftypes.Value) (map[string]any, error) {
	members := map[string]tftypes.Value{}
	if err := config.As(&members); err != nil {
		return nil, err
	}
	sources := []tftypes.Value{}
	if err := members["source"].As(&sources); err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	writer := zip.NewWriter(&packed)
	for _, source := range sources {
		header := &zip.FileHeader{Name: text(source, "filename"), Method: zip.Deflate, Modified: time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)}
		entry, err := writer.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write([]byte(text(source, "content"))); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	path := text(config, "output_path")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(packed.Bytes())
	return map[string]any{
		"id": hex.EncodeToString(sum[:]), "output_size": big.NewFloat(float64(packed.Len())),
		"output_base64sha256": base64.StdEncoding.EncodeToString(sum[:]), "output_sha256": hex.EncodeToString(sum[:]),
	}, nil
}

func runProgram(config tftypes.Value) (map[string]any, error) {
	members := map[string]tftypes.Value{}
	if err := config.As(&members); err != nil {
		return nil, err
	}
	words := []tftypes.Value{}
	if err := members["program"].As(&words); err != nil {
		return nil, err
	}
	args := make([]string, len(words))
	for index, word := range words {
		if err := word.As(&args[index]); err != nil {
			return nil, err
		}
	}
	entries := map[string]tftypes.Value{}
	if err := members["query"].As(&entries); err != nil {
		return nil, err
	}
	query := map[string]string{}
	for name, entry := range entries {
		var value string
		if err := entry.As(&value); err != nil {
			return nil, err
		}
		query[name] = value
	}
	input, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdin = bytes.NewReader(input)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, problems.String())
	}
	answer := map[string]string{}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, err
	}
	result := map[string]tftypes.Value{}
	for name, value := range answer {
		result[name] = tftypes.NewValue(tftypes.String, value)
	}
	return map[string]any{"id": "-", "result": result}, nil
}

func main() {
	// The program's own name says which provider it is: terraform-provider-archive_v2.8.0.
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_")
	all := map[string]providerSchema{}
	if err := json.Unmarshal(schemas, &all); err != nil {
		panic(err)
	}
	own, found := all[name]
	if !found {
		panic("schema.json has no provider " + name)
	}
	err := tf5server.Serve("registry.terraform.io/hashicorp/"+name, func() tfprotov5.ProviderServer {
		return &server{own: own}
	})
	if err != nil {
		panic(err)
	}
}
