"""schemathesis: calls made up from docs/openapi.json, right ones and wrong ones; every answer is one that it promises.

A case is an operation. What is made up is the same in every run.
"""

import os
from base64 import b64encode

import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

HTTP = os.environ["EVENKEEL_HTTP"]
EXAMPLES = 60
# A text that the description allows need not be a statement, a setting's name or a job's number: then it is a problem.
NOT_CHECKED = [positive_data_acceptance]

schema = schemathesis.openapi.from_path(os.environ["OPENAPI"])
schema.config.update(base_url=HTTP)


def basic(user, password):
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def token(user, password):
    answer = requests.post(f"{HTTP}/api/v1/tokens", headers=basic(user, password), timeout=30)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture(scope="session")
def logins():
    """Headers of the admin, and a function that gives those of a login that may be ended."""
    password = os.environ["PGPASSWORD"]
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("CREATE USER fleeting PASSWORD 'a long secret'")
    return token("admin", password), basic("admin", password), lambda: token("fleeting", "a long secret")


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_calls(case, logins):
    admin, password, fleeting = logins
    headers = {"give_token": password, "end_token": None}.get(case.operation.definition.raw.get("operationId"), admin)
    case.call_and_validate(headers=headers or fleeting(), excluded_checks=NOT_CHECKED, timeout=30)
