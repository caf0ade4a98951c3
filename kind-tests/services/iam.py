"""Manages IAM users and roles of a local service.

iam.py ENDPOINT create USER                    creates a user with the policy on standard input; prints its access key
iam.py ENDPOINT role ROLE TRUST                creates a role with this trust policy and the policy on standard input
iam.py ENDPOINT allow USER                     replaces the policy by the one on standard input
iam.py ENDPOINT set USER KEY Active|Inactive   enables or disables an access key
"""

import json
import sys

import boto3


def main(endpoint, command, user, *rest):
    iam = boto3.client(
        "iam",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    if command == "create":
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName="tests", PolicyDocument=sys.stdin.read())
        key = iam.create_access_key(UserName=user)["AccessKey"]
        json.dump({"user": user, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}, sys.stdout)
    elif command == "role":
        iam.create_role(RoleName=user, AssumeRolePolicyDocument=rest[0])
        iam.put_role_policy(RoleName=user, PolicyName="tests", PolicyDocument=sys.stdin.read())
    elif command == "allow":
        iam.put_user_policy(UserName=user, PolicyName="tests", PolicyDocument=sys.stdin.read())
    elif command == "set":
        key, status = rest
        iam.update_access_key(UserName=user, AccessKeyId=key, Status=status)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
