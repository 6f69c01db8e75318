//! Connections: made with a time limit, and silent about what goes over them.

use std::{mem, time::Duration};

use lapin::{
    Channel, Connection, ErrorKind as Client, options::ConfirmSelectOptions, tcp::AMQPUriTcpExt,
};
use relaybox_core::{Error, ErrorKind, Result};
use tracing::dispatcher::{self, Dispatch};

use crate::{RabbitConfig, error};

/// How long a broker may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
const REPLY_SUCCESS: u16 = 200;

/// Connects and logs in. `role` tells the connection from the others of the same process.
pub(crate) async fn connect(
    operation: &'static str,
    config: &RabbitConfig,
    role: &'static str,
) -> Result<Connection> {
    let (uri, tls) = (config.uri()?, config.tls_config(operation)?);
    let runtime = lapin::runtime::default_runtime()
        .map_err(|error| error::convert_connecting(operation, error))?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            // This runs on the connection's own thread, which would log whole messages when they are
            // returned: the thread logs nothing. What goes wrong is told by errors.
            mem::forget(dispatcher::set_default(&Dispatch::none()));
            Ok(uri.connect_with_config_async(tls.as_ref(), &runtime).await?)
        },
        config.properties(role),
    );
    match tokio::time::timeout(config.timeout(), connecting).await {
        Ok(connected) => connected.map_err(|error| error::convert_connecting(operation, error)),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, operation)
            .detail("the broker didn't let us in before the time limit")),
    }
}

/// Opens a channel.
pub(crate) async fn channel(operation: &'static str, connection: &Connection) -> Result<Channel> {
    answered(operation, connection.create_channel()).await
}

/// Opens a channel on which the broker confirms what it has.
pub(crate) async fn confirming(
    operation: &'static str,
    connection: &Connection,
) -> Result<Channel> {
    let channel = channel(operation, connection).await?;
    answered(operation, channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Waits for the broker's answer, not for ever: a connection that the broker has blocked is silent.
pub(crate) async fn answered<T>(
    operation: &'static str,
    asked: impl Future<Output = lapin::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| error::convert(operation, error)),
        Err(_) => {
            Err(Error::new(ErrorKind::Unavailable, operation).detail("the broker doesn't answer"))
        }
    }
}

/// How long the broker may take to answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Says goodbye, and waits for what was sent before to be processed.
pub(crate) async fn close(operation: &'static str, connection: &Connection) -> Result<()> {
    let goodbye = async {
        while connection.status().connected() {
            match connection.close(REPLY_SUCCESS, "OK".into()).await {
                // A channel that was dropped is still closing.
                Err(error) if matches!(error.kind(), Client::InvalidChannelState(..)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                closed => return closed,
            }
        }
        Ok(())
    };
    match tokio::time::timeout(GOODBYE, goodbye).await {
        Ok(closed) => closed.map_err(|error| error::convert(operation, error)),
        Err(_) => {
            Err(Error::new(ErrorKind::Unavailable, operation)
                .detail("the broker doesn't say goodbye"))
        }
    }
}

/// Closes a channel, and waits for what was sent on it to be processed.
pub(crate) async fn close_channel(operation: &'static str, channel: &Channel) -> Result<()> {
    answered(operation, channel.close(REPLY_SUCCESS, "OK".into())).await
}
