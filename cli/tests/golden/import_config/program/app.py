#!/usr/bin/env python3
'''
JobType = 'GET'  # in a text, so it counts for nothing
'''
import json

bucket_para = [{
    "src_bucket": "photos",   # a comment
    'src_prefix': '/',
    "des_bucket": "photos-copy",
    "des_prefix": "from-jp" "/2024/",
}]
StorageClass = 'STANDARD'
aws_access_key_id = 'AKIAIOSFODNN7EXAMPLE'
aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
aws_access_key_region = 'cn-northwest-1'
alarm_email = "alarm_your_email@email.com"
zones = ['a', 'b']

try:
    with open("s3_migration_ignore_list.txt", "r") as f:
        ignore_list = f.read()
except Exception:
    ignore_list = ""

app = json.loads("{}")
