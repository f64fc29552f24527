"""Makes a stack at moto as a deployment does, and writes what came of it as JSON.

Standard input: {"endpoint", "region", "template", "functions": {LOGICAL_ID: BUNDLE}, "events": {NAME: EVENT}}. As osls does, the bucket
comes first, then the packages, then everything else. moto's CloudFormation knows only some types of resources. The key, the
secrets and their policies are made by their services' own APIs, and the rest is told as "missing".
"""

import io
import json
import sys
import zipfile

import boto3

KNOWN = {
    "AWS::Events::Rule",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
}
# moto's CloudFormation keeps a key's policy in a form that its own KMS cannot read.
KEY = "AWS::KMS::Key"
ALIAS = "AWS::KMS::Alias"
SECRET = "AWS::SecretsManager::Secret"
SECRET_POLICY = "AWS::SecretsManager::ResourcePolicy"
STACK = "service-token-broker-interop"


def main():
    given = json.load(sys.stdin)
    resources = given["template"]["Resources"]

    def client(service):
        return boto3.client(service, endpoint_url=given["endpoint"], region_name=given["region"])

    cloudformation = client("cloudformation")
    account = client("sts").get_caller_identity()["Account"]

    # Each stage of the deployment adds to the one before, and refers to what is there by then.
    replaced = {
        "AWS::AccountId": account,
        "AWS::Partition": "aws",
        "AWS::Region": cloudformation.meta.region_name,
        "AWS::StackName": STACK,
    }

    def deploy(types, action, waiter):
        chosen = {
            name: without_others(resource, resources, types)
            for name, resource in resources.items()
            if resource["Type"] in types
        }
        body = json.dumps({"Resources": replace(chosen, replaced)})
        action(StackName=STACK, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        cloudformation.get_waiter(waiter).wait(StackName=STACK)
        listed = cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        return {item["LogicalResourceId"]: item.get("PhysicalResourceId", "") for item in listed}

    made = deploy({"AWS::S3::Bucket"}, cloudformation.create_stack, "stack_create_complete")
    for name, bundle in given["functions"].items():
        code = resources[name]["Properties"]["Code"]
        client("s3").put_object(Bucket=made["ServerlessDeploymentBucket"], Key=code["S3Key"], Body=zipped(bundle))

    kms = client("kms")
    properties = replace(resources["Key"]["Properties"], replaced)
    key = kms.create_key(Description=properties["Description"], Policy=json.dumps(properties["KeyPolicy"]))["KeyMetadata"]
    if properties["EnableKeyRotation"]:
        kms.enable_key_rotation(KeyId=key["KeyId"])
    kms.create_alias(AliasName=replace(resources["KeyAlias"]["Properties"]["AliasName"], replaced), TargetKeyId=key["KeyId"])
    replaced.update({"Key": key["KeyId"], "Key.Arn": key["Arn"]})

    secrets = client("secretsmanager")
    arns = {}
    for name, resource in resources.items():
        if resource["Type"] == SECRET:
            properties = replace(resource["Properties"], replaced)
            properties.pop("ReplicaRegions", None)
            arns[name] = secrets.create_secret(**properties)["ARN"]
    replaced.update(arns)

    made = deploy(KNOWN, cloudformation.update_stack, "stack_update_complete")

    roles = {f"{name}.Arn": f"arn:aws:iam::{account}:role/{made[name]}" for name in made if name.endswith("Role")}
    for resource in resources.values():
        if resource["Type"] == SECRET_POLICY:
            properties = replace(resource["Properties"], {**replaced, **roles})
            secrets.put_resource_policy(
                SecretId=properties["SecretId"],
                ResourcePolicy=json.dumps(properties["ResourcePolicy"]),
                BlockPublicPolicy=properties["BlockPublicPolicy"],
            )

    queues = probe(client, made)
    kinds = {resource["Type"] for resource in resources.values()}
    json.dump(
        {
            "made": made,
            "secrets": {name: looked_up(secrets, arn) for name, arn in arns.items()},
            "keyArn": key["Arn"],
            "keyRotates": kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"],
            "told": {name: told(client, queues, event, arns) for name, event in given["events"].items()},
            "missing": sorted(kinds - KNOWN - {KEY, ALIAS, SECRET, SECRET_POLICY}),
        },
        sys.stdout,
    )


def without_others(resource, resources, types):
    """A resource that waits for none that is not made."""
    waits = resource.get("DependsOn", [])
    waits = [waits] if isinstance(waits, str) else waits
    return {**resource, "DependsOn": [name for name in waits if resources[name]["Type"] in types]}


def replace(value, known):
    """A template's value with the references that are known replaced by what they stand for."""
    if isinstance(value, list):
        # CloudFormation removes these; moto keeps them.
        return [replace(item, known) for item in value if item != {"Ref": "AWS::NoValue"}]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Ref"] and value["Ref"] in known:
        return known[value["Ref"]]
    if list(value) == ["Fn::GetAtt"] and ".".join(value["Fn::GetAtt"]) in known:
        return known[".".join(value["Fn::GetAtt"])]
    if list(value) == ["Fn::Sub"]:
        text = value["Fn::Sub"]
        for name, meaning in known.items():
            text = text.replace("${" + name + "}", meaning)
        return text if "${" not in text else {"Fn::Sub": text}
    return {name: replace(item, known) for name, item in value.items()}


def zipped(bundle):
    """A package with one file, as osls makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr(f"dist-lambda/{bundle}.mjs", "export const handler = null;\n")
    return buffer.getvalue()


def looked_up(secrets, arn):
    described = secrets.describe_secret(SecretId=arn)
    policy = secrets.get_resource_policy(SecretId=arn)
    return {
        "arn": arn,
        "name": described["Name"],
        "kmsKeyId": described.get("KmsKeyId"),
        "hasValue": bool(described.get("VersionIdsToStages")),
        "policy": json.loads(policy["ResourcePolicy"]),
    }


def probe(client, made):
    """Gives each of the stack's rules a queue in its topic's place, since moto's EventBridge does not know topics."""
    events, sqs = client("events"), client("sqs")
    queues = {}
    for rule in ("RotationDoneRule", "RotationFailedRule", "ProbeRule"):
        name = made[rule].rsplit("/", 1)[-1]
        targets = events.list_targets_by_rule(Rule=name)["Targets"]
        events.remove_targets(Rule=name, Ids=[target["Id"] for target in targets])
        # moto takes a rule with a schedule for one that matches every event.
        if rule == "ProbeRule":
            continue
        queues[rule] = sqs.create_queue(QueueName=f"probe-{rule}")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=queues[rule], AttributeNames=["QueueArn"])["Attributes"]
        events.put_targets(Rule=name, Targets=[{"Id": "probe", "Arn": attributes["QueueArn"]}])
    return queues


def told(client, queues, event, known):
    """Which of the rules match an event."""
    event = replace(event, known)
    client("events").put_events(Entries=[{**event, "Detail": json.dumps(event["Detail"])}])
    matching = []
    for rule, queue in queues.items():
        messages = client("sqs").receive_message(QueueUrl=queue).get("Messages", [])
        for message in messages:
            matching.append(rule)
            client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return matching


main()
